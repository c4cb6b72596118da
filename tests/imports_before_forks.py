"""Import what the commands import until a server serves; `forked` loads this module before it forks.

Nothing here may start a thread, which a fork would lose.
"""

import gc
from importlib import import_module

from headstart_server.backbones.runtimes.openvino_import import load_openvino

for _name in (
    "headstart_server.app.lifecycle",
    "headstart_server.app.start_checks",
    "headstart_server.app.supervise",
    "headstart_server.settings.options",
    "headstart.cli.app",
    # Its types of parameters, which it imports when it parses the first command line.
    "typer._adapters",
):
    import_module(_name)
load_openvino()
gc.collect()
gc.freeze()
