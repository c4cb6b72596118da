"""Check the addresses, declared backbones and files in settings before a server starts.

Modules are imported when they are needed, because a server needs a setting's package only if it is set.
"""

import sys
from collections.abc import Callable, Iterator

from headstart_server.errors import HeadstartError
from headstart_server.settings.groups import STDOUT
from headstart_server.settings.settings import Settings


def address_problems(settings: Settings) -> Iterator[str]:
    """Yield problems in the addresses, prefixes and backbones of settings."""
    for check in (_backbones, _database, _webhooks, _artifacts, _datasets, _label_studio):
        yield from _problems(check, settings)


def file_problems(settings: Settings) -> Iterator[str]:
    """Yield problems in the files that settings name."""
    for check in (_webhook_secrets, _access_file, _audit_log, _tls_files):
        yield from _problems(check, settings)


def _problems(check: Callable[[Settings], None], settings: Settings) -> Iterator[str]:
    try:
        check(settings)
    except OSError as error:
        if error.filename is None:
            yield str(error)
        else:
            remedy = "Correct the path, or the permissions of the file."
            yield f"Cannot read {error.filename}: {error.strerror}. {remedy}"
    except (ValueError, ModuleNotFoundError) as error:
        yield str(error)


def _backbones(settings: Settings) -> None:
    backbones = settings.backbones
    if not (backbones.backbones_file or backbones.backbone or backbones.default_backbone):
        return
    from headstart_server.app.backbone_catalog import catalog_of

    catalog = catalog_of(settings)
    if not backbones.default_backbone:
        return
    try:
        catalog.check_name(backbones.default_backbone)
    except HeadstartError as error:
        raise ValueError(
            f"--default-backbone: {error.message} Correct the name, or declare the backbone with --backbone."
        ) from None
    if backbones.precision == "int8":
        catalog.quantized.require(backbones.default_backbone)


def _database(settings: Settings) -> None:
    if (url := settings.storage.database_url) is not None:
        from headstart_server.database.address import address_of

        address_of(url)


def _webhooks(settings: Settings) -> None:
    if settings.jobs.sends_webhooks:
        from headstart_server.webhooks.policy import WebhookPolicy

        WebhookPolicy(settings.jobs.allow_webhook, own=settings.jobs.webhook_url)


def _artifacts(settings: Settings) -> None:
    if settings.storage.artifacts is not None:
        from headstart_server.storage.address import artifacts_address

        artifacts_address(settings.storage.artifacts)


def _datasets(settings: Settings) -> None:
    if settings.jobs.allow_dataset_uri:
        from headstart_server.database import address
        from headstart_server.datasets.uris.policy import dataset_uri_policy

        dataset_uri_policy(settings, address.files(settings.storage.database_target))


def _label_studio(settings: Settings) -> None:
    if settings.server.label_studio_url is not None:
        from headstart_server.api.label_studio.site import LabelStudioSite

        LabelStudioSite(settings.server.label_studio_url, None)


def _webhook_secrets(settings: Settings) -> None:
    if settings.jobs.webhook_secret_file is not None:
        from headstart_server.webhooks.message import read_secrets

        read_secrets(settings.jobs.webhook_secret_file, settings.jobs.webhook_url)


def _access_file(settings: Settings) -> None:
    if settings.auth.access_file is not None:
        from headstart_server.auth.authenticator import Authenticator

        Authenticator(settings.auth.access_file)


def _audit_log(settings: Settings) -> None:
    # `sys.stdout` is /dev/null then.
    if settings.auth.audit_log == STDOUT and sys.__stdout__ is None:
        raise ValueError("--audit-log - requires a stdout, which is closed. Open it, or name a file.")


def _tls_files(settings: Settings) -> None:
    from headstart_server.api.grpc.tls import Certificates, tls_files

    if (files := tls_files(settings.tls)) is not None:
        Certificates(files)
