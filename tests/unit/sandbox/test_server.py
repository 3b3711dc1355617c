"""The sandbox started each way: embedded, in a thread, from the command line."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import anthropic
import httpx2
import pytest

from sandbox import cli, serve, serve_in_thread

ROOT = Path(__file__).parents[3]


async def test_embedded_on_the_running_loop_and_gone_afterwards() -> None:
    async with serve() as url, httpx2.AsyncClient() as client:
        assert url.startswith("http://127.0.0.1:")
        assert (await client.get(f"{url}/_sandbox/health")).status_code == 200
    async with httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{url}/_sandbox/health")


async def test_two_at_once_keep_apart() -> None:
    async with (
        serve() as one,
        serve() as two,
        anthropic.AsyncAnthropic(base_url=one, api_key="any") as first,
        anthropic.AsyncAnthropic(base_url=two, api_key="any", max_retries=0) as second,
    ):
        meta = await first.files.upload(file=("a", b"x"))
        with pytest.raises(anthropic.NotFoundError):
            await second.files.retrieve_metadata(meta.id)


async def test_a_call_under_way_does_not_hold_up_the_end() -> None:
    async with httpx2.AsyncClient() as client:
        async with serve() as url:
            headers = {
                "x-api-key": "any",
                "anthropic-version": "2023-06-01",
                "x-sandbox-scenario": "slow-60000ms",
            }
            call = asyncio.ensure_future(client.get(f"{url}/v1/models", headers=headers))
            await asyncio.sleep(0.1)
            ends = asyncio.get_running_loop().time() + 3
        assert asyncio.get_running_loop().time() < ends
        with pytest.raises(httpx2.RemoteProtocolError):
            await call


def test_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), serve_in_thread(port=port):
            pass
        assert cli(["--port", str(port)]) == 1


async def test_as_a_program() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--port", "0", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    async with httpx2.AsyncClient() as client:
        assert (await client.get(line.split()[-1] + "/_sandbox/health")).json() == {"status": "healthy"}
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
