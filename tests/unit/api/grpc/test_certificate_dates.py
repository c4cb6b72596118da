"""The log of certificates that clients reject, or will reject soon."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from certificates import Identity, identity
from headstart_server.api.grpc.certificate_dates import CertificateDates
from headstart_server.api.grpc.tls import TlsFiles

YEAR, MONTH = timedelta(days=365), timedelta(days=30)
INVALID, EXPIRING = "tls_certificate_invalid", "tls_certificate_expiring"


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return TlsFiles(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")


def put(files: TlsFiles, shown: Identity) -> None:
    files.cert.write_bytes(shown.chain)
    files.key.write_bytes(shown.private)


def logged(dates: CertificateDates) -> list[str]:
    with capture_logs() as events:
        dates.check()
    return [each["event"] for each in events]


@pytest.mark.parametrize(
    ("age", "left", "expected"),
    [
        (MONTH, -timedelta(minutes=1), [INVALID]),
        (-timedelta(hours=1), YEAR, [INVALID]),
        (YEAR, timedelta(days=13), [EXPIRING]),
        (YEAR, timedelta(days=15), []),
        # Renewed every hour.
        (timedelta(minutes=10), timedelta(minutes=50), []),
        (timedelta(minutes=50), timedelta(minutes=10), [EXPIRING]),
    ],
)
def test_a_certificate_that_is_invalid_or_expires_soon_is_logged(
    files: TlsFiles, age: timedelta, left: timedelta, expected: list[str]
) -> None:
    put(files, identity("server", identity("authority"), age=age, left=left))
    assert logged(CertificateDates(files)) == expected


def test_the_event_has_the_file_and_the_dates(files: TlsFiles) -> None:
    shown = identity("server", left=-timedelta(minutes=1))
    put(files, shown)
    with capture_logs() as events:
        CertificateDates(files).check()
    assert events == [
        {
            "event": INVALID,
            "log_level": "warning",
            "cert": str(files.cert),
            "not_before": shown.certificate.not_valid_before_utc.isoformat(),
            "not_after": shown.certificate.not_valid_after_utc.isoformat(),
        }
    ]


def test_each_change_is_logged_once(files: TlsFiles) -> None:
    now = time.time()
    dates = CertificateDates(files, lambda: now)
    put(files, identity("server", age=YEAR, left=YEAR))
    assert logged(dates) == []
    now += 360 * 86400
    assert [logged(dates), logged(dates)] == [[EXPIRING], []]
    now += 10 * 86400
    assert [logged(dates), logged(dates)] == [[INVALID], []]
    files.cert.write_bytes(b"half of a renewal")
    assert logged(dates) == []
    put(files, identity("server", left=2 * YEAR))
    assert logged(dates) == []
    now += 2 * YEAR.total_seconds()
    assert logged(dates) == [INVALID]
