"""Certificates for tests, signed by an authority of their own."""

import datetime
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, both in PEM."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def chain(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    @property
    def private(self) -> bytes:
        return self.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def identity(
    name: str,
    issuer: Identity | None = None,
    *more: x509.GeneralName,
    age: datetime.timedelta = datetime.timedelta(hours=1),
    left: datetime.timedelta = datetime.timedelta(days=1),
) -> Identity:
    """A certificate for the loopback and further names; its own issuer if none is given.

    Args:
        name: its subject.
        issuer: the authority.
        more: further names.
        age: how long it has been valid.
        left: how long it stays valid.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), *more])
    signer = issuer.key if issuer else key
    # From Python 3.13 on, clients check these extensions (RFC 5280).
    is_authority = issuer is None
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age)
        .not_valid_after(now + left)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(signed_by, critical=False)
    )
    return Identity(builder.sign(signer, hashes.SHA256()), key)
