"""The operations that the two specs promise, read once at start from the committed bundles."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import Dialect
from gateway.faults import OperatorFault
from gateway.resources import Subject

METHODS = ("get", "put", "post", "delete", "patch")
BASE_PATHS: Mapping[Dialect, str] = {"native": "/v1", "envelope": ""}
"""Where each bundle's paths begin; the envelope writes absolute paths."""


class CatalogError(OperatorFault):
    """The bundles contradict themselves or the code; the server does not start."""


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation of one spec.

    `scope` is None where no key is needed; `stream` names the form of a streamed answer (sse, jsonl, binary);
    `metered` says that its answers cost tokens; `subject` what it does with resources that belong to keys.
    """

    id: str
    dialect: Dialect
    method: str
    path: str
    tag: str
    spec: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]
    sdk: tuple[str, ...] = ()
    scope: str | None = None
    stream: str | None = None
    forward: bool = False
    metered: bool = False
    audit: bool = False
    request_types: tuple[str, ...] = ()
    response_types: tuple[str, ...] = ()
    handler: str = field(default="")
    subject: Subject = field(default_factory=Subject)

    @property
    def goes_upstream(self) -> bool:
        """Whether it stands for one of Anthropic's: the others are the gateway's own."""
        return self.forward or bool(self.sdk)


class Catalog:
    """All operations of both specs, by operationId.

    Args:
        bundles: the two bundled OpenAPI documents, by dialect.

    Raises:
        CatalogError: an operationId stands twice.
    """

    def __init__(self, bundles: Mapping[Dialect, Mapping[str, Any]]) -> None:
        self._by_id: dict[str, Operation] = {}
        for dialect, bundle in bundles.items():
            for operation in _operations(dialect, bundle):
                if operation.id in self._by_id:
                    raise CatalogError(f"operationId {operation.id} stands twice")
                self._by_id[operation.id] = operation

    def __getitem__(self, operation_id: str) -> Operation:
        return self._by_id[operation_id]

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)


def _operations(dialect: Dialect, bundle: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in bundle["paths"].items():
        for method in METHODS:
            if method in item:
                yield _operation(dialect, bundle, path, method, item)


def _operation(
    dialect: Dialect, bundle: Mapping[str, Any], path: str, method: str, item: Mapping[str, Any]
) -> Operation:
    spec = item[method]
    extension = spec.get("x-gateway", {})
    tag = spec["tags"][0]
    forward = bool(extension.get("forward"))
    if forward:
        handler = "handlers.native.forward.forward"
    elif tag == "system":
        handler = f"handlers.system.{spec['operationId']}"
    else:
        handler = f"handlers.{dialect}.{tag}.{spec['operationId']}"
    responses = (
        resolve(bundle, response) for status, response in spec["responses"].items() if status[0] == "2"
    )
    request_body = resolve(bundle, spec.get("requestBody", {}))
    return Operation(
        id=spec["operationId"],
        dialect=dialect,
        method=method.upper(),
        path=BASE_PATHS[dialect] + path,
        tag=tag,
        spec=spec,
        parameters=tuple(
            resolve(bundle, parameter)
            for parameter in (*item.get("parameters", ()), *spec.get("parameters", ()))
        ),
        sdk=tuple(extension.get("sdk", ())),
        scope=extension.get("scope"),
        stream=extension.get("stream"),
        forward=forward,
        metered=extension.get("meter") == "tokens",
        audit=bool(extension.get("audit")),
        request_types=tuple(request_body.get("content", ())),
        response_types=tuple(
            dict.fromkeys(kind for response in responses for kind in response.get("content", ()))
        ),
        handler=handler,
        subject=Subject.read(extension.get("scope"), tag, method.upper(), path),
    )


def resolve(bundle: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow `$ref`s within a bundle until an object that is not one."""
    while "$ref" in part:
        target: Any = bundle
        for token in part["$ref"].removeprefix("#/").split("/"):
            target = target[token]
        part = target
    return part
