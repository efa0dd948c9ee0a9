"""A real nginx in front of gateways, as docs/operations.md has it: upgrade, no more.

Its read timeout is an argument, because nginx's 60 s are long for a test. `max_fails=0`: a server
that failed once counts as good again when a request to it has *ended*, which a WebSocket does not;
until then nginx would let one client in per `fail_timeout`.
"""

from collections.abc import Sequence
from pathlib import Path

import httpx2

from tests.support.processes import Process, find_program, free_port

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream gateways {{
    least_conn;
    {servers}
  }}
  server {{
    listen 127.0.0.1:{port};
    location = /nginx {{ return 204; }}
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      {forwarded}
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_next_upstream error timeout http_503;
      proxy_connect_timeout 1s;
      proxy_read_timeout {read_timeout_ms}ms;
    }}
  }}
}}
"""

FORWARDED = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
"""With `forwards` it tells the client's address, as a gateway that trusts it wants."""


class Nginx(Process):
    """A load balancer over gateways on these ports of this machine."""

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int],
        *,
        read_timeout_ms: int = 60_000,
        forwards: bool = False,
    ) -> None:
        self.port = free_port()
        servers = (f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        self._configuration = CONFIGURATION.format(
            folder=folder,
            port=self.port,
            servers="\n    ".join(servers),
            read_timeout_ms=read_timeout_ms,
            forwarded=FORWARDED if forwards else "",
        )
        file = folder / f"nginx-{self.port}.conf"
        super().__init__(
            [find_program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(file)],
            folder,
            name=f"nginx-{self.port}",
        )
        file.write_text(self._configuration)

    @property
    def url(self) -> str:
        """The WebSocket behind it."""
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ready(self) -> bool:
        try:
            async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
                return (await client.get(f"{self.http_url}/nginx")).status_code == 204
        except httpx2.TransportError:
            return False
