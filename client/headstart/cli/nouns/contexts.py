"""The commands `headstart login` and `headstart context`."""

import sys
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from headstart.cli.confirmation import confirm
from headstart.cli.contexts_file import Context, Contexts, ContextsFile, complete_contexts, expanded_path
from headstart.cli.help import noun
from headstart.cli.output.formats import LIST, listing
from headstart.cli.output.layout import add_row, facts_grid, new_table
from headstart.cli.session import Session, session_of
from headstart.results import Caller

contexts = noun("context", "List, select, show and delete stored servers.")

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The name of the context.",
        show_default=False,
        autocompletion=complete_contexts,
    ),
]


def login(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Argument(
            metavar="[HOST:PORT]", help="The server's gRPC address. Default: --server.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The name of the context. Default: the host.", show_default=False)
    ] = None,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from stdin.")] = False,
) -> None:
    """Check a connection and store it as the current context.

    Stores --tls, --ca, --cert, --key and the token, or with --token-file only the path of the token.
    Without a token it asks for one. Only you can read the file.

    Example: `headstart login models.example.com:443 --tls --token-file ~/.headstart-token`
    """
    command = session_of(context)
    options = replace(command.options, server=server or command.options.server, context_name=None)
    if options.token is None and options.token_file is None:
        options = replace(options, token=_token(from_stdin=token_stdin))
    session = Session(options)
    connection = _with_absolute_paths(session.connection)
    with session.client(retries=0) as client:
        caller = client.who_am_i()
    name = name or _name_of(connection.server)
    ContextsFile().add(name, connection)
    command.show(
        {"context": name, **_redacted(connection)},
        Text(f"Logged in to {connection.server} {_identity(caller)}. {name} is the current context now."),
    )


@contexts.command("list", formats=LIST)
def list_contexts(context: typer.Context) -> None:
    """List the contexts; the current one is marked with *.

    Example: `headstart context list`
    """
    stored = ContextsFile().read()
    items = list(stored.contexts.items())
    session_of(context).show(
        {
            "contexts": [{"context": name, **_redacted(each)} for name, each in items],
            "current": stored.current,
        },
        _table(stored),
        listing(
            items,
            lambda item: item[0],
            {
                "context": lambda item: item[0],
                "server": lambda item: item[1].server,
                "tls": lambda item: item[1].tls,
                "current": lambda item: item[0] == stored.current,
            },
        ),
    )


@contexts.command("use")
def use_context(context: typer.Context, name: NameArgument) -> None:
    """Make a context the current one.

    Example: `headstart context use production`
    """
    ContextsFile().use(name)
    session_of(context).show({"current": name}, Text(f"{name} is the current context now."))


@contexts.command("show")
def show_context(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Default: the current context.",
            show_default=False,
            autocompletion=complete_contexts,
        ),
    ] = None,
) -> None:
    """Show a context, without its token.

    Example: `headstart context show production`
    """
    stored = ContextsFile().read()
    name = name or stored.current
    if not name:
        raise ValueError("There is no current context. Choose one: headstart context use NAME")
    redacted = _redacted(stored.get(name))
    session_of(context).show(
        {"context": name, **redacted}, facts_grid([("context", name), *redacted.items()], indent="")
    )


@contexts.command("delete")
def delete_context(
    context: typer.Context,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Delete a context with its token. The server is not changed.

    Example: `headstart context delete production`
    """
    stored = ContextsFile().read().get(name)
    confirm(f"delete context {name} of server {stored.server}", skip=yes)
    ContextsFile().delete(name)
    session_of(context).show({"context": name}, Text(f"Deleted context {name}."))


def _token(*, from_stdin: bool) -> str | None:
    if from_stdin:
        token = sys.stdin.readline().strip()
        if not token:
            raise ValueError("The token on stdin is empty. Write it in one line")
        return token
    if not sys.stdin.isatty():
        return None
    token = typer.prompt("Token (empty for none)", default="", show_default=False, hide_input=True, err=True)
    return str(token).strip() or None


def _with_absolute_paths(context: Context) -> Context:
    ca, cert, key, token_file = (
        str(expanded_path(path).absolute()) if path else ""
        for path in (context.ca, context.cert, context.key, context.token_file)
    )
    return replace(context, ca=ca, cert=cert, key=key, token_file=token_file)


def _name_of(server: str) -> str:
    host = server.rpartition(":")[0].rpartition("/")[2] or server
    return (
        "".join(each if each.isalnum() or each in "._-" else "-" for each in host).strip("-._") or "default"
    )


def _identity(caller: Caller) -> str:
    if not caller.authenticated:
        return "without authentication"
    return f"as {caller.principal or caller.subject}"


def _redacted(context: Context) -> dict[str, Any]:
    return {key: "(stored)" if key == "token" else value for key, value in asdict(context).items() if value}


def _table(stored: Contexts) -> RenderableType:
    if not stored.contexts:
        return Text("No contexts. Add one: headstart login HOST:PORT")
    table = new_table("", "context", "server", "TLS", "token")
    for name, each in stored.contexts.items():
        token = "file" if each.token_file else "stored" if each.token else ""
        add_row(
            table, "*" if name == stored.current else "", name, each.server, "yes" if each.tls else "", token
        )
    return table
