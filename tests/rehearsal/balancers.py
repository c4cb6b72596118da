"""Real load balancers for gRPC, as Debian ships them: nginx and HAProxy, on a free port of the loopback."""

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from types import TracebackType
from typing import Self

import grpc

from certificates import Identity
from chaos.replica import HOST
from http2_frames import call_with_empty_message
from postgres import unprivileged
from programs import HAPROXY, NGINX
from server_process import eventually, free_port

#: By name.
PROGRAMS = {"nginx": NGINX, "haproxy": HAPROXY}
#: Seconds that one gets to open its port, and to end.
PATIENCE = 30.0

NGINX = """\
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/errors warn;
events {{ worker_connections 512; }}
http {{
  # A call that fails at once has its status in the headers, others have it in the trailers.
  log_format calls '$status $sent_http_grpc_status/$upstream_trailer_grpc_status $uri $upstream_addr';
  access_log {folder}/calls calls;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream headstart {{
    zone headstart 64k;
{servers}
    keepalive 32;
  }}
  server {{
    listen {host}:{port} {listen};
    {certificate}
    # Datasets are streams of any length.
    client_max_body_size 0;
    location / {{
      grpc_pass {scheme}://headstart;
      {trust}
      # Watch and a long Status are quiet for minutes.
      grpc_read_timeout 1h;
      grpc_send_timeout 1h;
    }}
  }}
}}
"""

HAPROXY = """\
global
  maxconn 512
  log stdout format raw local0
defaults
  mode http
  log global
  timeout connect 2s
  # A check has until then, and not until the next one: handshakes of TLS take longer on a busy machine.
  timeout check 5s
  timeout client 1h
  timeout server 1h
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
frontend calls
  bind {host}:{port} {listen}
  declare capture response len 3
  http-response capture res.hdr(grpc-status) id 0
  log-format "%ST %[capture.res.hdr(0)] %HPO %s %ts"
  default_backend headstart
backend headstart
  balance roundrobin
  option tcp-check
  # `default`: as the line of the server says, with TLS if it has it.
  tcp-check connect default
  tcp-check send-binary {health_check}
  # A message of two bytes, `08 01`: SERVING.
  tcp-check expect binary 00000000020801
  default-server proto h2 check inter 200ms fall 1 rise 1 {trust}
{servers}
"""

#: What the templates have in their gaps without TLS, and with it: to callers and to servers, whose
#: certificates are checked for the name `headstart`. HAProxy's check uses TLS and HTTP/2, too: one in plain
#: text marks every server with TLS as down.
GAPS = {
    ("nginx", False): {"listen": "http2", "certificate": "", "scheme": "grpc", "trust": ""},
    ("nginx", True): {
        "listen": "ssl http2",
        "certificate": "ssl_certificate {folder}/pair.pem; ssl_certificate_key {folder}/pair.pem;",
        "scheme": "grpcs",
        "trust": "grpc_ssl_verify on; grpc_ssl_trusted_certificate {folder}/ca.pem; grpc_ssl_name headstart;",
    },
    ("haproxy", False): {"listen": "proto h2", "trust": ""},
    ("haproxy", True): {
        "listen": "ssl crt {folder}/pair.pem alpn h2",
        "trust": "ssl alpn h2 verify required ca-file {folder}/ca.pem sni str(headstart) "
        "verifyhost headstart check-ssl check-alpn h2 check-sni headstart",
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """What a balancer shows to callers, and whom it trusts as servers.

    Attributes:
        shown: its certificate and key.
        trusted: the authority of the servers.
    """

    shown: Identity
    trusted: Identity


class Balancer:
    """One process that passes calls on to servers; never root, even if root runs the tests.

    Args:
        name: ``nginx`` or ``haproxy``.
        ports: of the servers.
        tls: speaks TLS to callers and servers; None speaks plain text.
    """

    def __init__(self, name: str, ports: Sequence[int], tls: Tls | None = None) -> None:
        self.name = name
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix=f"headstart-{name}-"))
        config = self._folder / "config"
        program = str(PROGRAMS[name].need())
        if name == "nginx":
            servers = "\n".join(f"    server {HOST}:{port} max_fails=1 fail_timeout=1s;" for port in ports)
            template, command = NGINX, [program, "-p", str(self._folder), "-c", str(config)]
            command += ["-e", str(self._folder / "errors")]
        else:
            servers = "\n".join(f"  server s{port} {HOST}:{port}" for port in ports)
            template, command = HAPROXY, [program, "-db", "-f", str(config)]
        gaps = {key: text.format(folder=self._folder) for key, text in GAPS[name, tls is not None].items()}
        files = [self._folder, config]
        if tls is not None:
            for file, content in (
                ("pair.pem", tls.shown.chain + tls.shown.private),
                ("ca.pem", tls.trusted.chain),
            ):
                files.append(self._folder / file)
                files[-1].write_bytes(content)
        config.write_text(
            template.format(
                **gaps,
                folder=self._folder,
                host=HOST,
                port=self.port,
                servers=servers,
                health_check=call_with_empty_message("/grpc.health.v1.Health/Check").hex(),
            )
        )
        account: dict[str, object] = {}
        if os.geteuid() == 0:
            user = unprivileged()
            account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in files:
                os.chown(path, user.pw_uid, user.pw_gid)
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                **account,  # type: ignore[call-overload]
            )

    @property
    def target(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """What it said of itself and of calls."""
        files = (self._folder / name for name in ("output", "errors"))
        return "".join(path.read_text(errors="replace") for path in files if path.exists())

    def statuses(self) -> Counter[str]:
        """How the calls of the contract ended that it passed on, by gRPC status, else by HTTP status."""
        path = self._folder / ("calls" if self.name == "nginx" else "output")
        lines = re.finditer(
            r"^(\d{3}) (\S+) /headstart\.v1\.\w+/\w+", path.read_text(errors="replace"), re.MULTILINE
        )
        ends: Counter[str] = Counter()
        for line in lines:
            # HAProxy does not see the status in the trailers, where that of a call that went well is.
            status = "".join(re.findall(r"\d+", line[2])) or "0"
            if line[1] != "200":
                ends[f"HTTP {line[1]}"] += 1
            else:
                ends["answered" if status == "0" else grpc_name(status)] += 1
        return ends

    def __enter__(self) -> Self:
        eventually(self._is_open, PATIENCE, f"{self.name} on port {self.port}: {self.log}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_open(self) -> bool:
        assert self._process.poll() is None, f"{self.name} has ended:\n{self.log}"
        try:
            with closing(create_connection((HOST, self.port), timeout=1)):
                return True
        except OSError:
            return False


def grpc_name(number: str) -> str:
    """The name of a gRPC status; of an unknown number itself."""
    return {str(code.value[0]): code.name for code in grpc.StatusCode}.get(number, number)
