"""The operations of the installed `anthropic` package beside those of the native spec.

    python -m tools.sdk_surface          what the spec lacks or tells wrongly, with path items ready to paste
    python -m tools.sdk_surface --all    every operation of the installed SDK, one a line

A pasted path item still lacks its prose and its example: `python -m tools.lint_spec` asks for them.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

import openapi
from tools.sdk_draft import BASE_PATH, MEDIA_TYPES, draft, tag
from tools.sdk_methods import Kind
from tools.sdk_operations import SdkOperation, operations

Document = dict[str, Any]


def find(document: Document, operation: SdkOperation) -> Document | None:
    """Return the spec's operation with that method and path, the path item's parameters included."""
    item = document["paths"].get(operation.path.removeprefix(BASE_PATH), {})
    content = item.get(operation.method.lower())
    if content is None:
        return None
    return {**content, "parameters": [*item.get("parameters", ()), *content.get("parameters", ())]}


def faults(document: Document, surface: Iterable[SdkOperation]) -> Iterator[str]:
    """Yield one line for each way in which the native spec differs from the SDK's operations."""
    known: dict[str, SdkOperation] = {}
    for operation in surface:
        known |= dict.fromkeys(operation.names, operation)
        content = find(document, operation)
        if content is None:
            yield f"{operation}: the spec lacks {', '.join(operation.names)}"
            continue
        declared = content["x-gateway"].get("sdk", [])
        for name in operation.names:
            if name not in declared:
                yield f"{operation}: x-gateway.sdk lacks {name}"
        yield from _kind_faults(document, operation, content)
        yield from _parameter_faults(document, operation, content)
    for path, item in document["paths"].items():
        for verb, content in item.items():
            for name in content.get("x-gateway", {}).get("sdk", ()) if isinstance(content, dict) else ():
                place = f"{verb.upper()} {BASE_PATH}{path}"
                if name not in known or str(known[name]) != place:
                    yield f"{place}: x-gateway.sdk says {name}, which the SDK does not send there"


def _kind_faults(document: Document, operation: SdkOperation, content: Document) -> Iterator[str]:
    served = _resolve(document, content["responses"]["200"]).get("content", {})
    kinds = {_kind(media_type, item) for media_type, item in served.items()}
    if kinds != operation.kinds:
        yield f"{operation}: answers {_join(kinds)}, but the SDK reads {_join(operation.kinds)}"
    body = _resolve(document, content.get("requestBody", {})).get("content", {})
    wanted = operation.request_type
    if set(body) != ({wanted} if wanted else set()):
        yield f"{operation}: takes {_join(body)}, but the SDK sends {wanted or 'no body'}"


def _kind(media_type: str, item: Document) -> Kind:
    by_type = {name: kind for kind, name in MEDIA_TYPES.items()}
    is_binary = item.get("schema", {}).get("format") == "binary"
    return Kind.BINARY if is_binary else by_type.get(media_type, Kind.BINARY)


def _parameter_faults(document: Document, operation: SdkOperation, content: Document) -> Iterator[str]:
    declared = [_resolve(document, parameter) for parameter in content["parameters"]]
    places = {
        "query": {parameter["name"] for parameter in declared if parameter["in"] == "query"},
        "header": {parameter["name"].lower() for parameter in declared if parameter["in"] == "header"},
    }
    for one in operation.query:
        if one.name not in places["query"]:
            yield f"{operation}: lacks the query parameter {one.name}"
    for name in operation.headers:
        if name not in places["header"]:
            yield f"{operation}: lacks the header {name}"


def _resolve(document: Document, part: Document) -> Document:
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = document["components"][kind][name]
    return part


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; the exit code is 0 only when the spec has all that the SDK has."""
    parser = argparse.ArgumentParser("python -m tools.sdk_surface")
    parser.add_argument("--all", action="store_true", help="list every operation of the installed SDK")
    surface = operations()
    if parser.parse_args(arguments).all:
        for operation in surface:
            print(f"{operation}  {_join(operation.kinds)}  {_join(operation.names)}")
        return 0
    document = openapi.load("native")
    for operation in surface:
        if find(document, operation) is None:
            item = {operation.method.lower(): draft(operation)}
            print(f"# {operation.path.removeprefix(BASE_PATH)}, in openapi/native/{tag(operation)}/")
            print(yaml.safe_dump(item, sort_keys=False, allow_unicode=True, width=110))
    found = list(faults(document, surface))
    print("\n".join(found) or "the spec has every operation of the installed SDK", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
