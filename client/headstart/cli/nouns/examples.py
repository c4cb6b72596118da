"""The commands of `headstart example`."""

from itertools import islice
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from headstart.arguments import FineTuneSettings
from headstart.calls.example_calls import ExampleQuery
from headstart.cli.completion import complete_models
from headstart.cli.confirmation import confirm
from headstart.cli.help import noun
from headstart.cli.options import VersionArgument
from headstart.cli.output.example_tables import (
    example_listing,
    example_table,
    example_view,
    map_listing,
    map_table,
)
from headstart.cli.output.formats import LIST, RESULT
from headstart.cli.output.model_tables import erased_example_view
from headstart.cli.session import Session, session_of
from headstart.cli.training import spec_options as options
from headstart.cli.training.fine_tune import run_fine_tune
from headstart.client import Client
from headstart.edits import ExampleEdit
from headstart.results import ExampleRecord
from headstart.version_ref import VersionRef, parse_version

stored_examples = noun("example", "List, show, relabel, remove and erase examples.")
_ALL_MODELS = "-"


@stored_examples.command("erase")
def erase_example(
    context: typer.Context,
    *,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The model, or - for all models.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ],
    example_id: Annotated[
        str, typer.Argument(metavar="ID", help="The ID that the example was sent with.", show_default=False)
    ],
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Also replace each version that was trained on it by one that is fitted without it.",
        ),
    ] = False,
    request_id: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Repeating a complete erasure with the same ID prints the same certificate.",
            show_default=False,
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Erase the content and features of an example, and list the versions that were trained on it.

    Example: `headstart example erase pets cat/17.jpg`
    """
    where = "all models" if model == _ALL_MODELS else f"model {model}"
    replaced = ", and replace every version that was trained on it" if rebuild else ""
    confirm(f"erase example {example_id} of {where}{replaced}", skip=yes)
    session = session_of(context)
    with session.client() as client:
        erased = client.erase_example(model, example_id, rebuild=rebuild, request_id=request_id)
    session.show(session.response("EraseExample"), erased_example_view(example_id, erased))


_SIZES = (64, 128, 256, 512)
ExampleArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="ID", help="The ID of the example, or #3 for its index.", show_default=False),
]


@stored_examples.command("list", formats=LIST)
def list_examples(
    context: typer.Context,
    version: VersionArgument,
    *,
    label: Annotated[str, typer.Option(metavar="CLASS", help="Only with this class.")] = "",
    predicted: Annotated[str, typer.Option(metavar="CLASS", help="Only predicted as this class.")] = "",
    issue: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Only with this finding: label_issue, duplicate, contradiction, outlier or error.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        bool | None,
        typer.Option("--held-out/--trained", help="Only held out, or only trained on.", show_default=False),
    ] = None,
    id_prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only IDs with this beginning.")] = "",
    by_suspicion: Annotated[bool, typer.Option("--by-suspicion", help="The highest loss first.")] = False,
    skip: Annotated[int, typer.Option(min=0, help="The number of examples to skip.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of examples.")] = 50,
) -> None:
    """List the examples that a version was trained on, with their out-of-fold predictions.

    Example: `headstart example list pets --issue label_issue`
    """
    query = ExampleQuery(
        label=label,
        predicted_label=predicted,
        issue=issue,
        held_out=held_out,
        id_prefix=id_prefix,
        order_by="suspicion" if by_suspicion else "index",
        skip=skip,
    )
    session = session_of(context)
    with session.client() as client:
        try:
            found = list(islice(client.examples(version, **query), limit))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--issue") from None
    session.show(session.response("ListExamples", limit), example_table(found), example_listing(found))


@stored_examples.command("map", formats=LIST)
def map_examples(context: typer.Context, version: VersionArgument) -> None:
    """Show the examples of a version in two dimensions; `-o csv` lists the points.

    Example: `headstart example map pets -o csv`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.example_map(version)
    session.show(session.response("GetExampleMap"), map_table(found), map_listing(found))


@stored_examples.command("show")
def show_example(
    context: typer.Context,
    version: VersionArgument,
    example: ExampleArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the content to this file.", show_default=False),
    ] = None,
    thumbnail: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="With --output: a thumbnail of 64, 128, 256 or 512 pixels.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show an example with its prediction and findings; --output saves its content.

    Example: `headstart example show pets cat/17.jpg --output 17.jpg`
    """
    if thumbnail is not None and (output is None or thumbnail not in _SIZES):
        raise typer.BadParameter("use 64, 128, 256 or 512, with --output", param_hint="--thumbnail")
    ref, session = parse_version(version), session_of(context)
    with session.client() as client:
        record = _find(client, ref, example)
        if output is not None:
            content = (
                client.example_content(ref, record)
                if thumbnail is None
                else client.example_thumbnail(ref, record, thumbnail)  # type: ignore[arg-type]
            )
            output.write_bytes(content.content)
            session.note(f"Wrote {len(content.content):,} bytes of {content.media_type} to {output}.")
    document = session.response("ListExamples").get("examples", [])
    shown = [each for each in document if int(each["example"].get("index", 0)) == record.index]
    session.show(shown[0] if shown else {}, example_view(record))


@stored_examples.command("relabel", formats=RESULT)
def relabel_examples(
    context: typer.Context,
    version: VersionArgument,
    edits: Annotated[
        list[str],
        typer.Argument(metavar="ID=CLASS...", help="The examples and their new classes.", show_default=False),
    ],
    *,
    alias: options.AliasOption = None,
    promote_if_not_worse: options.PromoteOption = False,
    request_id: options.RequestIdOption = None,
    wait: options.WaitOption = True,
) -> None:
    """Train a new version in which some examples have another class. The old version does not change.

    Example: `headstart example relabel pets@3 cat/17.jpg=dog cat/18.jpg=dog --alias stable`
    """
    changes = []
    for text in edits:
        name, equals, label = text.rpartition("=")
        if not equals or not name or not label:
            raise typer.BadParameter(f"use ID=CLASS instead of {text!r}", param_hint="ID=CLASS")
        changes.append(_edit(name, label=label))
    spec = FineTuneSettings(
        edits=changes, alias=alias, promote_if=options.GateOptions().gate(promote_if_not_worse, alias)
    )
    _train(session_of(context), version, spec, request_id=request_id, wait=wait)


@stored_examples.command("remove", formats=RESULT)
def remove_examples(
    context: typer.Context,
    version: VersionArgument,
    examples: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The examples to leave out.", show_default=False)
    ],
    *,
    alias: options.AliasOption = None,
    promote_if_not_worse: options.PromoteOption = False,
    request_id: options.RequestIdOption = None,
    wait: options.WaitOption = True,
) -> None:
    """Train a new version without some examples. Their contents stay stored; `example erase` deletes them.

    Example: `headstart example remove pets@3 cat/17.jpg`
    """
    changes = [_edit(name, remove=True) for name in examples]
    spec = FineTuneSettings(
        edits=changes, alias=alias, promote_if=options.GateOptions().gate(promote_if_not_worse, alias)
    )
    _train(session_of(context), version, spec, request_id=request_id, wait=wait)


def _train(
    session: Session, version: str, spec: FineTuneSettings, *, request_id: str | None, wait: bool
) -> None:
    ref = parse_version(version)
    with session.client() as client:
        parent = ref.alias if ref.version is None else ref.version
        if parent is None:
            parent = client.get_version(ref.model).version
        spec["parent"] = parent
        run_fine_tune(session, client, None, ref.model, spec, request_id=request_id, wait=wait)


def _edit(name: str, *, label: str | None = None, remove: bool = False) -> ExampleEdit:
    index = _index_of(name)
    return ExampleEdit(example_id="" if index is not None else name, index=index, label=label, remove=remove)


def _index_of(name: str) -> int | None:
    """Return the index in `#3`; None for an ID."""
    return int(name[1:]) if name.startswith("#") and name[1:].isdecimal() else None


def _find(client: Client, ref: VersionRef, name: str) -> ExampleRecord:
    index = _index_of(name)
    query = ExampleQuery() if index is not None else ExampleQuery(id_prefix=name)
    for record in client.examples(ref, **query):
        if record.index == index or (index is None and record.example_id == name):
            return record
    raise typer.BadParameter(f"{ref} has no example {name!r}", param_hint="ID")
