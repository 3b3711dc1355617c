"""The parts that need no socket: cache, threads, schemas' values, ids, routes."""

from typing import Any

import jsonschema
import pytest

from sandbox.errors import ApiError
from sandbox.http import Request, Response
from sandbox.ids import Ids
from sandbox.prompt_cache import PromptCache
from sandbox.prompts import segments
from sandbox.routing import Router
from sandbox.schema_values import value_for
from sandbox.threads import Threads

DATE = {"type": "string", "format": "date-time"}
TREE: dict[str, Any] = {
    "$defs": {"node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "array", "items": {"type": "integer", "minimum": 5}, "minItems": 3},
        {"enum": ["x", "y"]},
        {"const": 7},
        {"type": ["null", "number"], "maximum": -2},
        {"type": "integer", "exclusiveMinimum": 4},
        {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        {"type": "string", "minLength": 40, "maxLength": 50},
        {"allOf": [{"type": "object", "properties": {"a": DATE}, "required": ["a"]}, {"required": ["a"]}]},
        {"$defs": {"a": {"type": "string", "format": "uuid"}}, "properties": {"b": {"$ref": "#/$defs/a"}}},
        {"type": "null"},
        {"type": "string", "default": "d"},
    ],
)
def test_value_fits_its_schema(schema: dict[str, Any]) -> None:
    jsonschema.validate(value_for(schema), schema, format_checker=jsonschema.FormatChecker())


def test_recursive_schema_ends() -> None:
    assert value_for(TREE)["left"]["left"]


def prompt(*texts: str, ttl: str = "5m") -> list[Any]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
    blocks[-1]["cache_control"] = {"type": "ephemeral", "ttl": ttl}
    return segments({"system": blocks, "messages": [{"role": "user", "content": "x" * 40}]})


def test_cache_expires_and_a_read_renews() -> None:
    now = 0.0
    cache = PromptCache(clock=lambda: now)
    assert cache.use("m", prompt("a" * 400)).written_5m == 100
    now = 200.0
    assert cache.use("m", prompt("a" * 400)).read == 100
    now = 499.0
    assert cache.use("m", prompt("a" * 400)).read == 100
    now = 800.0
    assert cache.use("m", prompt("a" * 400)).written_5m == 100


def test_longer_lived_entry_stays() -> None:
    now = 0.0
    cache = PromptCache(clock=lambda: now)
    assert cache.use("m", prompt("a" * 400, ttl="1h")).written_1h == 100
    now = 3599.0
    assert cache.use("m", prompt("a" * 400, ttl="1h")).read == 100


def test_cache_knows_a_prefix_and_keeps_models_apart() -> None:
    cache = PromptCache()
    cache.use("m", prompt("a" * 400))
    longer = cache.use("m", prompt("a" * 400, "b" * 400))
    assert (longer.read, longer.written_5m, longer.uncached, longer.total) == (100, 100, 14, 214)
    assert cache.use("other", prompt("a" * 400)).read == 0
    assert cache.use("m", prompt("b" * 400)).read == 0


def test_oldest_threads_go_when_there_are_too_many() -> None:
    threads = Threads(max_bytes=100)
    body: dict[str, Any] = {"thread": {"type": "create"}, "messages": []}
    for number in range(3):
        message = {"id": f"msg_{number}", "content": [], "stop_reason": "end_turn"}
        threads.hold(body, message, 40)

    def resume(number: int) -> Any:
        thread = {"type": "continue", "previous_message_id": f"msg_{number}"}
        return threads.resume({"thread": thread, "messages": []}, "message-threads-2026-08-12")

    with pytest.raises(ApiError):
        resume(0)
    assert resume(2)["messages"] == [{"role": "assistant", "content": []}]


def test_ids_differ_over_runs_and_grow() -> None:
    first, second = Ids(run=1), Ids(run=2)
    made = [first.new("msg"), first.new("msg"), second.new("msg"), second.new("msg")]
    assert made == sorted(set(made))


async def nothing(_request: Request) -> Response:
    return Response(b"")


async def something(_request: Request) -> Response:
    return Response(b"x")


def request(method: str, raw_path: str) -> Request:
    async def receive() -> dict[str, Any]:
        raise AssertionError("not to be read")

    scope = {"method": method, "raw_path": raw_path.encode(), "headers": [], "query_string": b""}
    return Request(scope, receive, "req_1")


def test_literal_routes_win_and_the_first_stays() -> None:
    router = Router()
    router.add("GET", "/a/{id}", nothing)
    router.add("GET", "/a/b", something)
    router.add("GET", "/a/{other}", something)
    router.add("GET", "/a/b/c", nothing)
    assert router.match(request("GET", "/a/b")) is something
    wanted = request("GET", "/a/x%2Fy")
    assert router.match(wanted) is nothing
    assert wanted.params == ("x/y",)
    assert router.match(request("GET", "/a/b/c")) is nothing
    for path in ("/a", "/a/", "/a/b/d", "/"):
        with pytest.raises(ApiError) as caught:
            router.match(request("GET", path))
        assert caught.value.status == 404
