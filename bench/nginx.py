"""nginx in its two parts: the upstream that is never the bottleneck, and the proxy that we compare with."""

import os
from pathlib import Path

from bench.payloads import UPSTREAM_HEADERS, message_body

_MAIN = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_buffer_size 64k;
  keepalive_requests 100000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{http}
}}
"""

_UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /health {{ return 200; }}
    location / {{
      default_type application/json;
{headers}
      return 200 '{body}';
    }}
  }}
"""

_PROXY = """
  upstream anthropic {{
    server {upstream};
    keepalive 1024;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /health {{ return 200; }}
    location / {{
      proxy_pass http://anthropic;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering {buffering};
      proxy_read_timeout 600s;
    }}
  }}
"""


def upstream_command(folder: Path, port: int) -> list[str]:
    """Command line of an upstream that answers every POST with the bench's message."""
    body = message_body().decode()
    if "'" in body or "$" in body:
        raise ValueError("the message would not survive nginx's quoting")
    headers = "\n".join(f"      add_header {name} {value};" for name, value in UPSTREAM_HEADERS.items())
    return _command(folder, _UPSTREAM.format(port=port, headers=headers, body=body))


def proxy_command(folder: Path, port: int, upstream: str, *, buffering: bool) -> list[str]:
    """Command line of a keep-alive `proxy_pass` to `upstream` ("host:port"); streams need `buffering` off."""
    http = _PROXY.format(port=port, upstream=upstream, buffering="on" if buffering else "off")
    return _command(folder, http)


def _command(folder: Path, http: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    # Started by root, nginx would hand its worker to another user, who may not enter our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_MAIN.format(folder=folder, user=user, http=http))
    return ["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
