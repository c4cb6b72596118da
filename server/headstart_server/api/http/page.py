"""The page at /api: the calls."""

from html import escape

from headstart_server.api.http.routes import ROUTES

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
td { padding: .15rem 1.5rem .15rem 0; vertical-align: top }
code { font-family: ui-monospace, monospace; font-size: .9em }
"""


def page(version: str) -> bytes:
    """The page in HTML, UTF-8."""
    rows = "\n".join(
        f"<tr><td><code>{route.verb}</code></td><td><code>{_path(route.verb, route.shown_path)}</code></td>"
        f"<td>{escape(route.descriptor.full_name.removeprefix('headstart.v1.'))}</td></tr>"
        for route in ROUTES
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Headstart</title>
<style>{_STYLE}</style>
<h1>Headstart {escape(version)}</h1>
<p>The calls of the gRPC contract over HTTP.
<a href="/openapi.json">/openapi.json</a> describes them for programs;
<a href="/v1/protos">/v1/protos</a> is the contract itself, for compilers of other languages.</p>
<table>
{rows}
</table>
<p>Send an image as it is:</p>
<pre><code>curl --data-binary @cat.jpg -H 'content-type: image/jpeg' http://…/v1/models/pets:predict</code></pre>
</html>
""".encode()


def _path(verb: str, path: str) -> str:
    text = escape(path)
    return f'<a href="{text}">{text}</a>' if verb == "GET" and "{" not in path else text
