"""MAX_INFLIGHT_REQUESTS: what a process has no room for is refused at once, and served when there is room."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import gateway as gateways
from tests.support.gateway import UPSTREAM_KEY
from tests.support.recorder import Gate, Recorder, answer

MESSAGE = {
    "model": "claude-sonnet-4-20250514",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "Hi"}],
}
ROOM = 2
PROBES = ("/health", "/health/live", "/health/ready", "/metrics")


def test_what_there_is_no_room_for_is_refused(tmp_path: Path) -> None:
    gate = Gate()
    settings = {"ANTHROPIC_API_KEY": UPSTREAM_KEY, "MAX_INFLIGHT_REQUESTS": str(ROOM)}
    with (
        Recorder() as upstream,
        gateways.running(tmp_path, settings | {"ANTHROPIC_BASE_URL": upstream.url}) as gateway,
        ThreadPoolExecutor() as pool,
    ):
        upstream.reply = lambda _: [gate, *answer(body=b'{"id":"msg"}')]
        served = [pool.submit(gateway.call, "POST", "/v1/messages", MESSAGE) for _ in range(ROOM)]
        upstream.wait_for(ROOM)

        for target in ("/v1/messages", "/api/v1/messages/create", "/docs"):
            refused = gateway.call("POST", target, MESSAGE)
            assert (refused.status, refused.header("retry-after")) == (503, "1")
            assert b"the gateway serves 2 requests at a time" in refused.body
        assert [gateway.call("GET", probe).status for probe in PROBES] == [200] * len(PROBES)
        assert len(upstream.requests) == ROOM

        gate.open()
        assert [call.result(10).status for call in served] == [200] * ROOM
        assert gateway.call("POST", "/api/v1/messages/create", MESSAGE).status == 200
