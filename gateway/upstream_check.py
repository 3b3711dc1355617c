"""Find out, in one call that costs nothing, what keeps the gateway from Anthropic.

It goes the server's own way, step by step: the proxy that the environment names, the name's address, the
connection, TLS, and `GET /v1/models` with the key. The first step that fails is the answer.
"""

import http.client
import json
import os
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

import anthropic

from gateway.pool import proxy_for

SECONDS = 10.0
"""For each step."""

TARGET = "/v1/models?limit=1"

Step = Literal["proxy", "dns", "tcp", "tls", "key", "answer"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        ok: Anthropic takes the key.
        step: the one that failed; None when all is well.
        message: one sentence that says what happened and what to do.
        address: host and port of upstream.
        proxy: the proxy's, where there is one.
    """

    ok: bool
    step: Step | None
    message: str
    address: str
    proxy: str | None


class _Failure(Exception):
    def __init__(self, step: Step, message: str) -> None:
        super().__init__(message)
        self.step: Step = step


def check_upstream(base_url: str, key: str) -> Verdict:
    """Ask upstream for its models.

    Args:
        base_url: where upstream is.
        key: the credential; no message quotes it.
    """
    upstream = urlsplit(base_url)
    proxy_url = proxy_for(base_url)
    proxy = urlsplit(proxy_url) if proxy_url else None
    address, through = _address(upstream), _address(proxy) if proxy else None
    try:
        status = _ask(upstream, proxy, key)
        _judge(status)
    except _Failure as failure:
        return Verdict(ok=False, step=failure.step, message=str(failure), address=address, proxy=through)
    way = f" through the proxy {through}" if through else ""
    return Verdict(
        ok=True,
        step=None,
        message=f"{address} answers{way} and takes the key.",
        address=address,
        proxy=through,
    )


def _ask(upstream: SplitResult, proxy: SplitResult | None, key: str) -> int:
    """The status that upstream answers."""
    connection = _connect(proxy or upstream, proxied=proxy is not None)
    try:
        target = upstream.path.rstrip("/") + TARGET
        if proxy is not None and upstream.scheme == "https":
            _tunnel(connection, upstream, proxy)
        elif proxy is not None:
            target = f"http://{upstream.netloc}{target}"
        if upstream.scheme == "https":
            connection = _secure(connection, upstream.hostname or "")
        return _get(connection, target, upstream, proxy, key)
    finally:
        connection.close()


def _connect(url: SplitResult, *, proxied: bool) -> socket.socket:
    host, port = url.hostname or "", _port(url)
    where, setting = ("the proxy", "HTTPS_PROXY") if proxied else ("upstream", "ANTHROPIC_BASE_URL")
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Failure(
            "proxy" if proxied else "dns",
            f"The host of {where}, {host}, has no address ({_reason(error)}): check this machine's DNS server"
            f" (in a container: its network's) and {setting}.",
        ) from error
    failure: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(SECONDS)
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    assert failure is not None
    raise _Failure(
        "proxy" if proxied else "tcp",
        f"No connection to {where}, {host}, port {port} ({_reason(failure)}): check the firewall, whether"
        f" this network needs a proxy (HTTPS_PROXY), and {setting}.",
    ) from failure


def _tunnel(connection: socket.socket, upstream: SplitResult, proxy: SplitResult) -> None:
    """Ask the proxy for a way through (RFC 9110 §9.3.6)."""
    target = _address(upstream)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *_credentials(proxy), "", ""]
    try:
        connection.sendall("\r\n".join(lines).encode())
        with connection.makefile("rb", buffering=0) as answer:  # unbuffered: what follows is TLS's
            head = answer.readline(1000)
            while answer.readline(1000).strip():
                continue
    except OSError as error:
        raise _Failure(
            "proxy", f"The proxy {_address(proxy)} broke off ({_reason(error)}): check HTTPS_PROXY."
        ) from error
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):
        raise _Failure("proxy", f"What answers at {_address(proxy)} is no HTTP proxy: check HTTPS_PROXY.")
    _refuse_proxy_status(int(words[1]) if words[1].isdigit() else 0, proxy)


def _refuse_proxy_status(status: int, proxy: SplitResult) -> None:
    if status == 407:
        raise _Failure(
            "proxy",
            f"The proxy {_address(proxy)} wants a user and password: HTTPS_PROXY=http://user:password@host:port.",
        )
    if not 200 <= status < 300:
        raise _Failure(
            "proxy",
            f"The proxy {_address(proxy)} refuses the way to Anthropic (status {status}): whoever runs it"
            " must allow it, or NO_PROXY go past it.",
        )


def _secure(connection: socket.socket, host: str) -> socket.socket:
    context = ssl.create_default_context()
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise _Failure(
            "tls",
            f"{host} shows a certificate that is not trusted ({error.verify_message}): check this machine's"
            " clock, and where a proxy or firewall looks into TLS, name its CA in SSL_CERT_FILE.",
        ) from error
    except OSError as error:
        raise _Failure(
            "tls",
            f"TLS with {host} failed ({_reason(error)}): check that the port of ANTHROPIC_BASE_URL speaks"
            " HTTPS and that nothing on the way cuts TLS off.",
        ) from error


def _get(
    connection: socket.socket, target: str, upstream: SplitResult, proxy: SplitResult | None, key: str
) -> int:
    client = http.client.HTTPConnection(upstream.hostname or "", timeout=SECONDS)
    client.sock = connection
    sdk = anthropic.Anthropic(api_key=key, base_url=upstream.geturl(), open_telemetry=False)
    headers = {"x-api-key": key, "anthropic-version": str(sdk.default_headers["anthropic-version"])}
    headers |= {"accept": "application/json", "user-agent": sdk.user_agent, "host": upstream.netloc}
    sdk.close()
    if proxy is not None and upstream.scheme == "http":
        headers |= dict(line.split(": ", 1) for line in _credentials(proxy))
    try:
        client.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            client.putheader(name, value)
        client.endheaders()
        response = client.getresponse()
        body = response.read(65_536)
    except (OSError, http.client.HTTPException) as error:
        raise _Failure(
            "answer",
            f"{_address(upstream)} did not answer in HTTP ({_reason(error)}): check ANTHROPIC_BASE_URL.",
        ) from error
    if proxy is not None and upstream.scheme == "http" and response.status in (407, 403):
        _refuse_proxy_status(response.status, proxy)
    if response.status == 200 and not _is_json(body):
        raise _Failure(
            "answer",
            f"{_address(upstream)} is not Anthropic's API: its answer is no JSON. Check ANTHROPIC_BASE_URL.",
        )
    return response.status


def _judge(status: int) -> None:
    """Raise what a status means, unless it is 200."""
    match status:
        case 200:
            return
        case 401:
            raise _Failure(
                "key",
                "Anthropic does not know the key (401), which is mistyped or was deleted: make one in"
                " Anthropic's console and set ANTHROPIC_API_KEY.",
            )
        case 403:
            raise _Failure(
                "key",
                "Anthropic knows the key and refuses it (403): look in Anthropic's console whether it is"
                " disabled or its workspace forbids this address.",
            )
        case 429 | 529:
            raise _Failure(
                "answer", f"Anthropic is reached and asks to wait (status {status}): try again later."
            )
        case _ if status >= 500:
            raise _Failure(
                "answer", f"Anthropic is reached and has a fault of its own (status {status}): try later."
            )
        case _:
            raise _Failure("answer", f"Upstream answers with status {status}: check ANTHROPIC_BASE_URL.")


def _credentials(proxy: SplitResult) -> list[str]:
    if not proxy.username:
        return []
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return [f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}"]


def _address(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"[{host}]:{_port(url)}" if ":" in host else f"{host}:{_port(url)}"


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _reason(error: BaseException) -> str:
    """A failure in a few words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:.0f} s"
    if isinstance(error, ssl.SSLError):
        return error.reason or "SSL error"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
