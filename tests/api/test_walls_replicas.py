"""Who owns what outlives a restart, and holds on every replica."""

from pathlib import Path

from tests.support import gateway as gateways
from tests.support.recorder import Recorder, answer
from tests.support.walls import App, Client, is_missing, make_app, upload

TIMES = 30


def seen_at(app: App, url: str) -> App:
    """The same key at another replica."""
    return App(Client(url, app.client.key), app.id)


def test_a_restart_keeps_who_owns_what(tmp_path: Path) -> None:
    with Recorder() as upstream:
        settings = {"ANTHROPIC_API_KEY": "sk-ant-x", "ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(tmp_path, settings) as gateway:
            one, two = make_app(gateway, "one"), make_app(gateway, "two")
            upstream.script(answer(body=b'{"id":"vlt_1"}'), answer(body=b'{"id":"file_1"}'))
            assert one.call("POST", "/v1/vaults", {}).status == 200
            assert upload(one) == "file_1"
        with gateways.running(tmp_path, settings) as again:
            for path in ("/v1/vaults/vlt_1", "/v1/files/file_1"):
                assert seen_at(one, again.url).call("GET", path).status == 200
                assert is_missing(seen_at(two, again.url).call("GET", path))


def test_replicas_know_at_once_what_the_others_made(tmp_path: Path) -> None:
    """Also what a message brought forth a moment ago, for which no answer waits."""
    message = (
        b'{"type":"message","id":"msg_%d","usage":{"input_tokens":1,"output_tokens":1},'
        b'"container":{"id":"container_%d"},"content":[]}'
    )
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    with Recorder() as upstream:
        settings = {
            "ANTHROPIC_API_KEY": "sk-ant-x",
            "ANTHROPIC_BASE_URL": upstream.url,
            "DATA_DIR": str(tmp_path / "data"),
        }
        with (
            gateways.running(tmp_path / "here", settings) as here,
            gateways.running(tmp_path / "there", settings) as there,
        ):
            one, two = make_app(here, "one"), make_app(here, "two")
            gateways.eventually(
                lambda: seen_at(one, there.url).call("GET", "/v1/models").status == 200 or None, gateways.SOON
            )
            for number in range(TIMES):
                upstream.script(answer(body=b'{"id":"file_%d"}' % number))
                upload(one)
                path = f"/v1/files/file_{number}"
                assert seen_at(one, there.url).call("GET", path).status == 200
                assert is_missing(seen_at(two, there.url).call("GET", path))

                body = {"model": "m", "max_tokens": 5, "messages": []}
                upstream.script(answer(body=message % (number, number)))
                assert one.call("POST", "/v1/messages", body).status == 200
                body["container"] = f"container_{number}"
                assert seen_at(one, there.url).call("POST", "/v1/messages", body).status == 200
                assert is_missing(seen_at(two, there.url).call("POST", "/v1/messages", body))
