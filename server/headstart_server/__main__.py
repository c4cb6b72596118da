"""The command ``headstart-server``. Slow modules are imported late, so that --help is fast."""

import tomllib
import traceback
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart_server.app.config_command import config
from headstart_server.app.process_setup import prepare_process
from headstart_server.settings.groups import ServerGroup
from headstart_server.settings.options import ServerCommand, fail, settings_of, with_settings
from headstart_server.settings.settings import Settings
from headstart_server.settings.sources import Loaded

_BACKBONES = ("backbone", "backbones_file", "allow_backbone", "backbone_cache", "prepared_backbones")


def main() -> None:
    """Run the command."""
    prepare_process()
    try:
        command(prog_name="headstart-server")
    except SystemExit as ended:
        from headstart_server.app.start_failure import end_process

        end_process(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


command = typer.Typer(
    help="Fine-tune models on demand and serve them over gRPC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
command.add_typer(config, name="config")


def _env(name: str) -> str:
    return f"HEADSTART_{name.upper()}"


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"headstart {package_version('headstart')}")
        raise typer.Exit


@command.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Fine-tune models on demand and serve them over gRPC."""


@command.command(cls=ServerCommand)
@with_settings
def serve(loaded: Loaded) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Running requests then end within --grace-period, and running jobs continue at the next start. Health
    checks answer NOT_SERVING until the default backbone is loaded and warm.
    """
    from headstart_server.app.start_checks import address_problems, file_problems

    settings = settings_of(loaded)
    if problems := [*address_problems(settings)]:
        fail(problems, code=2)
    if problems := [*file_problems(settings)]:
        fail(problems)
    _run(settings, loaded.warnings)


def _run(settings: Settings, warnings: Iterable[str]) -> None:
    """Run a server; report a failed start in one line on stderr."""
    try:
        # These imports are slow, so a Ctrl-C may arrive during them.
        from headstart_server.app.supervise import process_count, supervise

        if (count := process_count(settings)) > 1:
            supervise(settings, count, warnings=warnings)
            return
        from headstart_server.app.serve import serve as run

        run(settings, warnings=warnings)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each error is reported in one line
        from headstart_server.app.start_failure import cause_of, unexpected

        if settings.observability.log_level == "debug":
            traceback.print_exception(error)
        fail([cause_of(error) or unexpected(error)])


@command.command(cls=ServerCommand)
@with_settings
def doctor(
    loaded: Loaded,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
) -> None:
    """Check this machine and the settings of a server.

    Takes the same settings as serve. Changes nothing, so it may run next to a server. Exits with 0 if no
    check failed, else with 1.
    """
    settings = settings_of(loaded)
    from headstart_server.doctor.command import run_doctor

    raise typer.Exit(run_doctor(settings, as_json=as_json, strict=strict))


@command.command("backbones", cls=ServerCommand)
@with_settings(names=_BACKBONES)
def list_backbones(loaded: Loaded) -> None:
    """List the backbones that a server can load.

    Takes the settings of serve about backbones. Downloads the metadata of backbones that are not prepared
    yet.
    """
    settings = settings_of(loaded)
    from headstart_server.backbones.catalog import DEFAULT
    from headstart_server.errors import HeadstartError

    catalog = _catalog(settings)
    for info in catalog.list():
        mark = " (default)" if info.name == DEFAULT else ""
        typer.echo(f"{info.name}{mark}")
        try:
            known = info if info.is_prepared else catalog.prepare(info.name)
        except HeadstartError as error:
            typer.echo(f"  {error}")
            continue
        if known.description:
            typer.echo(f"  {known.description}")
        views = ", ".join(f"{view} {size:,}" for view, size in known.views.items())
        typer.echo(f"  takes {_taken(known)}; views: {views}; {known.parameter_count:,} parameters")
        typer.echo(f"  from {known.source}; license: {known.license or 'not declared'}")


def _taken(info: Any) -> str:
    if info.input_size:
        return f"{info.modality.value}s of {' x '.join(map(str, info.input_size))}"
    return f"{info.modality.value}s"


def _catalog(settings: Settings) -> Any:
    from headstart_server.app.backbone_catalog import catalog_of
    from headstart_server.backbones.contract.runtimes import RuntimeKind, runtime_settings

    try:
        runtimes = replace(runtime_settings(settings.backbones), kind=RuntimeKind.OPENVINO)
        return catalog_of(settings, runtimes)
    except ValueError as error:
        fail([str(error)], code=2)


@command.command(cls=ServerCommand)
@with_settings(names=_BACKBONES)
def prepare(
    loaded: Loaded,
    names: Annotated[
        list[str] | None, typer.Argument(help="Backbones to prepare. Default: all.", metavar="BACKBONE...")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Also quantize them to 8 bits, and prove that they are as accurate: BACKBONE:int8."
        ),
    ] = False,
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Images or .txt files for --int8, a subfolder for each class. Default: samples of packages.",
        ),
    ] = None,
) -> None:
    """Download and convert backbones ahead of time, to build images.

    Prints the digest of each backbone's weights, which its declaration may pin. Progress goes to stderr.
    """
    if samples is not None and not int8:
        raise typer.BadParameter("needs --int8. Add it", param_hint="--samples")
    settings = settings_of(loaded)
    from headstart_server.backbones.contract.runtimes import default_cache
    from headstart_server.errors import BackboneNotFound, HeadstartError
    from headstart_server.observability.telemetry import configure_logs

    configure_logs(level="info", json=False)
    catalog, cache = _catalog(settings), settings.backbones.backbone_cache or default_cache()
    failed = False
    for name in names or [info.name for info in catalog.list()]:
        try:
            if samples is not None:
                _check_samples(catalog.info(name).modality, samples)
            backbone, weights = catalog.load(name), catalog.weights(name)
        except (HeadstartError, ValueError, OSError) as error:
            typer.echo(f"{name}: {error}", err=True)
            # The package of a built-in backbone may be left out.
            failed = failed or bool(names) or not isinstance(error, BackboneNotFound)
            continue
        typer.echo(f"{name}: {backbone.runtime}, checked, in {cache}\n  weights: {weights}")
        if int8 and not _quantize(catalog, backbone, samples):
            failed = True
    raise typer.Exit(int(failed))


def _check_samples(modality: Any, samples: Path) -> None:
    """Raise ValueError early if a folder cannot serve to check a quantized backbone."""
    try:
        from headstart_server.evaluation.quantization import labeled_examples
    except ModuleNotFoundError:
        # The quantization itself reports the missing extra.
        return
    labeled_examples(modality, samples)


def _quantize(catalog: Any, backbone: Any, samples: Path | None) -> bool:
    """Quantize a backbone and check its accuracy; return whether it may be used."""
    from headstart_server.errors import HeadstartError

    name = backbone.info.name
    try:
        quantized = catalog.load_quantized(name, samples)
        from headstart_server.backbones.contract.runtimes import processor
        from headstart_server.evaluation.quantization import measured_here, prove

        proof = catalog.quantized.proof(name) or prove(backbone, quantized, samples)
        if proof.processor != processor():
            proof = measured_here(proof, backbone, quantized, samples)
    except (HeadstartError, ValueError, OSError) as error:
        typer.echo(f"{name}:int8: {error}", err=True)
        return False
    catalog.keep_proof(name, proof)
    typer.echo(
        f"{name}:int8: {proof.rows_per_second:.0f} rows/s a thread, {proof.speedup:.2f} times as many as "
        f"{proof.float_runtime}\n"
        f"  accuracy on {proof.dataset}: {proof.accuracy:.2%}, in floating point {proof.float_accuracy:.2%}\n"
        f"  calibration error: {proof.calibration_error:.2%}, in floating point "
        f"{proof.float_calibration_error:.2%}"
    )
    if proof.problem:
        typer.echo(f"{name}:int8 is not used. {proof.problem}", err=True)
    return not proof.problem


@command.command(cls=ServerCommand)
def protos(
    out: Annotated[
        Path, typer.Option(help="Folder to write into; it is created if it is missing.", metavar="DIR")
    ],
) -> None:
    """Write the contract as .proto files with all imports.

    Protobuf compilers of all languages can read them.
    """
    from headstart_server.api.http.proto_files import DESCRIPTORS, write_protos

    try:
        count = write_protos(out)
    except OSError as error:
        fail([f"The protos cannot be written to {out}: {error.strerror}. Choose another folder with --out."])
    typer.echo(f"{count} protos and their descriptors ({DESCRIPTORS}) are in {out}.")


@command.command(cls=ServerCommand)
def token(
    name: Annotated[str, typer.Argument(help="The name of the caller.", metavar="NAME")],
) -> None:
    """Make a token and its entry for the access file.

    The token is printed on stdout and stored nowhere.
    """
    from headstart_server.auth.policy import PolicyError, policy_of
    from headstart_server.auth.tokens import lines_for, make_token

    made = make_token()
    lines = lines_for(name, made)
    try:
        policy_of(tomllib.loads(lines))
    except (PolicyError, tomllib.TOMLDecodeError):
        raise typer.BadParameter(
            f"Expected a name of 1 to 128 of a-z A-Z 0-9 . _ @ -. Received: {name!r}.", param_hint="NAME"
        ) from None
    typer.echo("# The token for the client (HEADSTART_TOKEN). It is stored nowhere:", err=True)
    typer.echo(made)
    typer.echo("\n# For the access file:", err=True)
    typer.echo(lines, nl=False)


@command.command(cls=ServerCommand)
def health(
    target: Annotated[
        str, typer.Option("--server", "--target", envvar=_env("server"), help="Address of the server.")
    ] = f"localhost:{ServerGroup.port}",
    timeout: Annotated[float, typer.Option(help="Maximum seconds to wait for the response.", min=0.1)] = 5.0,
    ca: Annotated[
        Path | None,
        typer.Option(envvar=_env("ca"), help="Certificate authorities to trust (PEM). Implies TLS."),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(envvar=_env("cert"), help="Client certificate (PEM). Requires --key and --ca."),
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar=_env("key"), help="Private key of --cert (PEM).")] = None,
    tls_name: Annotated[
        str | None,
        typer.Option(
            envvar=_env("tls_name"), help="Host name in the server's certificate. Default: that of --server."
        ),
    ] = None,
    service: Annotated[
        str, typer.Option(help="The full name of a service. Default: the server itself.")
    ] = "",
) -> None:
    """Check whether a server is serving.

    Exits with 0 if it is, else with 1. Uses no proxy from the environment.
    """
    if (cert is None) != (key is None) or (cert is not None and ca is None):
        raise typer.BadParameter("--cert and --key require each other, and --ca.")
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        authorities, own_key, own_cert = (path.read_bytes() if path else None for path in (ca, key, cert))
    except OSError as error:
        fail([f"Cannot read {error.filename}: {error.strerror}. Correct the path, or the permissions."])
    names = [("grpc.ssl_target_name_override", tls_name)] if tls_name else []
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0), *names]
    channel = (
        grpc.insecure_channel(target, options)
        if authorities is None
        else grpc.secure_channel(
            target, grpc.ssl_channel_credentials(authorities, own_key, own_cert), options
        )
    )
    with channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            typer.echo(
                f"{target}: {error.code().name}: {error.details()}\nCheck that the server is running and "
                "that --server is its gRPC address. If it uses TLS, add --ca.",
                err=True,
            )
            raise typer.Exit(1) from None
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(f"{target}: {name}")
    raise typer.Exit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)


if __name__ == "__main__":
    main()
