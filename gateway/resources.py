"""What belongs to a key: which of Anthropic's resources an operation is about, a request names, and an answer
brings forth.

Knowledge of the API alone, without state; who owns what is kept by `gateway.walls`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from gateway.json_body import parse_answer

Kind = str
"""The collection that a resource stands in, named as the tag of its operations: `files`, `batches`, …"""

WALLED_SCOPES = frozenset({"batches", "files", "skills", "agents"})
"""Scopes of operations on resources that belong to keys. Models belong to all, organizations to admins."""

TELLING = frozenset({"deployments", "deployment_runs", "dreams", "environments"})
"""Kinds whose answers tell of resources that Anthropic made by itself on their behalf."""

_SINGULARS: dict[str, Kind] = {
    "file": "files",
    "skill": "skills",
    "container": "containers",
    "batch": "batches",
    "message_batch": "batches",
    "session": "sessions",
    "agent": "agents",
    "environment": "environments",
    "memory_store": "memory_stores",
    "vault": "vaults",
    "deployment": "deployments",
    "deployment_run": "deployment_runs",
    "dream": "dreams",
    "tunnel": "tunnels",
    "user_profile": "user_profiles",
}
_MEMBERS = {f"{name}_id": kind for name, kind in _SINGULARS.items()}
_OBJECTS = {name: _SINGULARS[name] for name in ("container", "agent", "environment")}
_STRINGS = _MEMBERS | _OBJECTS
_LISTS = {f"{name}_ids": kind for name, kind in _SINGULARS.items()} | {
    "agents": "agents",
    "predefined_agents": "agents",
}
_NAMING = frozenset({*_STRINGS, *_LISTS, "thread"})
_OPAQUE = frozenset({"input", "input_examples", "input_schema", "metadata", "schema"})
"""Members whose contents are the caller's or the model's own: a `file_id` in there is not Anthropic's."""

_QUERIES = _MEMBERS | _LISTS | {"scope_id": "sessions"}
_CURSORS = frozenset({"after_id", "before_id"})
_HOLDERS = ("advisor", "agent", "agents", "fallbacks", "multiagent", "params", "requests", "tools")
"""Members that hold, or list, objects with a `model` of their own (SDK 2.12): a batch's requests, fallbacks,
an advisor, an agent with overrides."""

_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_CONTAINER_MADE = re.compile(rb'"container"\s*:\s*\{')


class Owned(NamedTuple):
    """A resource of Anthropic's."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What an operation does with resources that belong to keys.

    Attributes:
        kind: of which kind; None where it is about none.
        item: the path parameter that names the resource. What stands below it in the path belongs to it.
        makes: it makes a resource.
        lists: it lists them.
        deletes: it deletes the named one.
    """

    kind: Kind | None = None
    item: str | None = None
    makes: bool = False
    lists: bool = False
    deletes: bool = False

    @classmethod
    def read(cls, scope: str | None, tag: str, method: str, path: str) -> "Subject":
        """The subject of an operation, from its place in the spec: a collection, its items, what is below.

        Args:
            scope: what a key needs for it.
            tag: of the operation, which is the name of its collection.
            method: HTTP method, in capitals.
            path: the path template.
        """
        if scope not in WALLED_SCOPES:
            return cls()
        names = _PATH_PARAMETER.findall(path)
        if not names:
            return cls(kind=tag, makes=method == "POST", lists=method == "GET")
        deletes = method == "DELETE" and path.endswith(f"/{{{names[0]}}}")
        return cls(kind=tag, item=names[0], deletes=deletes)


def is_anthropics(resource: Owned) -> bool:
    """Whether Anthropic itself provides it: its own skills have plain names such as `xlsx`."""
    return resource.kind == "skills" and not resource.id.startswith("skill_")


def named_in(body: object) -> set[Owned]:
    """The resources that a request's parsed body names.

    It goes through every block: to search the bytes for the names first costs more than the walk, and an
    escaped letter would hide a name from it.
    """
    found: set[Owned] = set()
    waiting: list[Any] = [body]
    for node in waiting:  # which grows meanwhile
        kind = type(node)
        if kind is list:
            waiting += node
        elif kind is dict:
            if not _NAMING.isdisjoint(node):
                for name in _NAMING.intersection(node):
                    found.update(_named(name, node[name]))
            for name, value in node.items():
                kind = type(value)
                if (kind is list or kind is dict) and name not in _OPAQUE:
                    waiting.append(value)
    return found


def models_named_in(value: Any) -> Iterator[str]:
    """Every model that a body names; what messages and schemas hold is content and not looked at."""
    if isinstance(value, list):
        for item in value:
            yield from models_named_in(item)
    elif isinstance(value, dict):
        model = value.get("model")
        if isinstance(model, dict):
            model = model.get("id")
        if isinstance(model, str):
            yield model
        if value.get("fallbacks") == "default":
            yield "default"  # a choice left to Anthropic: only a key that may use all models leaves it
        for name in _HOLDERS:
            if name in value:
                yield from models_named_in(value[name])


def named_in_query(subject: Subject, raw: bytes) -> set[Owned]:
    """The resources that a query names: as a filter of a list, or as its cursor.

    Args:
        subject: of the operation.
        raw: the query as it was sent.
    """
    found: set[Owned] = set()
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        kind = subject.kind if name in _CURSORS else _QUERIES.get(name.removesuffix("[]"))
        if kind is not None:
            found.add(Owned(kind, value))
    return found


def brought_forth(message: Mapping[str, Any], *, threaded: bool = False) -> set[Owned]:
    """The resources that a message brings forth: its container, and files that code made in it.

    Only what Anthropic itself puts there counts, never what the model writes: else a prompt could claim
    another key's id by having it repeated.

    Args:
        message: Anthropic's answer.
        threaded: the conversation is held by Anthropic, and goes on from this message's id.
    """
    found: set[Owned] = set()
    if threaded and isinstance(message.get("id"), str):
        found.add(Owned("messages", message["id"]))
    container = message.get("container")
    if isinstance(container, dict) and isinstance(container.get("id"), str):
        found.add(Owned("containers", container["id"]))
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict):
            found.update(made_by(block))
    return found


def made_by(block: Mapping[str, Any]) -> set[Owned]:
    """The files that one content block, the result of code that ran at Anthropic, brings forth."""
    if not str(block.get("type", "")).endswith("code_execution_tool_result"):
        return set()
    result = block.get("content")
    outputs = result.get("content") if isinstance(result, dict) else None
    return {
        Owned("files", output["file_id"])
        for output in (outputs if isinstance(outputs, list) else ())
        if isinstance(output, dict) and isinstance(output.get("file_id"), str)
    }


def brought_forth_by_event(event: Mapping[str, Any], *, threaded: bool = False) -> set[Owned]:
    """The same for one event of a message's stream."""
    match event:
        case {"type": "message_start", "message": dict(message)}:
            return brought_forth(message, threaded=threaded)
        case {"type": "message_delta", "delta": dict(delta)}:
            return brought_forth({"container": delta.get("container")})
        case {"type": "content_block_start", "content_block": dict(block)}:
            return made_by(block)
    return set()


def brought_forth_by_result(line: bytes) -> set[Owned]:
    """The same for one line of a batch's results; most bring forth nothing and are not parsed."""
    if b'"file_id"' not in line and _CONTAINER_MADE.search(line) is None:
        return set()
    match parse_answer(line):
        case {"result": {"message": dict(message)}}:
            return brought_forth(message)
    return set()


def told_by(resource: Mapping[str, Any]) -> set[Owned]:
    """The resources that Anthropic made by itself on behalf of a deployment, a dream or an environment."""
    found: set[Owned] = set()
    match resource:
        case {"type": "deployment_run", "id": str(run)}:
            found = {Owned("deployment_runs", run)}
        case {"type": "work", "data": {"type": "session", "id": str(session)}}:
            found = {Owned("sessions", session)}
        case {"type": "dream", "outputs": list(outputs)}:
            found = {owned for output in outputs for owned in named_in(output)}
    if resource.get("type") in ("deployment_run", "dream") and isinstance(resource.get("session_id"), str):
        found.add(Owned("sessions", resource["session_id"]))
    return found


def maker_of(resource: Mapping[str, Any]) -> Owned | None:
    """What a resource was made by, where no call made it: a deployment its runs, a session its files."""
    match resource:
        case {"deployment_id": str(deployment)}:
            return Owned("deployments", deployment)
        case {"type": "file", "scope": {"type": "session", "id": str(session)}}:
            return Owned("sessions", session)
    return None


def _named(name: str, value: Any) -> Iterable[Owned]:
    """Ids in all their forms: `file_id: …`, `container: {id: …}`, `vault_ids: […]`, `agents: [{id: …}]`."""
    kind: Kind | None
    ids: list[Any]
    if isinstance(value, str):
        kind, ids = _STRINGS.get(name), [value]
    elif isinstance(value, list):
        kind, ids = _LISTS.get(name), [item.get("id") if isinstance(item, dict) else item for item in value]
    elif not isinstance(value, dict):
        return ()
    elif name == "thread":
        kind, ids = "messages", [value.get("previous_message_id")]
    else:
        kind, ids = _OBJECTS.get(name), [value.get("id")]
    return [Owned(kind, item) for item in ids if isinstance(item, str)] if kind is not None else ()
