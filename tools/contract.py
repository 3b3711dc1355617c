"""The contract as the lint reads it: both bundles, their operations, and ways to walk them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bundle import DIALECTS, LITERALS, NAME_MAPS, SOURCE, Bundle, bundle, escape

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        dialect: "native" or "envelope".
        path: the path template as its document has it.
        method: in lower case.
        content: the operation object.
        item: the path item around it.
        file: the path item's source file.
    """

    dialect: str
    path: str
    method: str
    content: dict[str, Any]
    item: dict[str, Any]
    file: Path

    def __str__(self) -> str:
        return f"{self.dialect} {self.method.upper()} {self.path}"

    @property
    def gateway(self) -> dict[str, Any]:
        """The `x-gateway` extension."""
        extension: dict[str, Any] = self.content.get("x-gateway", {})
        return extension

    @property
    def tag(self) -> str:
        """The first tag, empty when there is none."""
        return next(iter(self.content.get("tags", ())), "")


@dataclass(frozen=True)
class Contract:
    """Both dialects, joined.

    Attributes:
        source: the folder of the source files.
        bundles: by dialect.
    """

    source: Path
    bundles: dict[str, Bundle]

    @classmethod
    def read(cls, source: Path = SOURCE) -> "Contract":
        """Join the sources in a folder.

        Raises:
            tools.bundle.BundleError: they do not join.
        """
        return cls(source, {dialect: bundle(source / f"{dialect}.yaml") for dialect in DIALECTS})

    def operations(self) -> Iterator[Operation]:
        """Every operation of both dialects."""
        for dialect, joined in self.bundles.items():
            for path, item in joined.document["paths"].items():
                for method in METHODS:
                    if method in item:
                        yield Operation(dialect, path, method, item[method], item, joined.path_files[path])

    def resolve(self, dialect: str, node: dict[str, Any]) -> dict[str, Any]:
        """What a node stands for, after its reference if it is one."""
        while "$ref" in node:
            _, _, kind, name = node["$ref"].split("/")
            node = self.bundles[dialect].document["components"][kind][name]
        return node

    def responses(self, operation: Operation) -> dict[str, dict[str, Any]]:
        """An operation's responses by status, resolved."""
        responses = operation.content.get("responses", {})
        return {status: self.resolve(operation.dialect, response) for status, response in responses.items()}

    def parameters(self, operation: Operation) -> list[dict[str, Any]]:
        """An operation's parameters, those of its path item too, resolved."""
        written = [*operation.item.get("parameters", ()), *operation.content.get("parameters", ())]
        return [self.resolve(operation.dialect, parameter) for parameter in written]

    def objects(self) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        """Each object of both documents, as (dialect, pointer, keyword that holds it, object).

        The keyword is the nearest that is no name: `schemas` for a named schema, `content` for a media type.
        What is data, such as the value of an example, is left out.
        """
        for dialect, joined in self.bundles.items():
            for pointer, keyword, node in _walk(joined.document, "", ""):
                yield dialect, pointer, keyword, node


def _walk(
    node: Any, pointer: str, keyword: str, *, is_name_map: bool = False
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _walk(item, f"{pointer}/{index}", keyword)
    elif isinstance(node, dict):
        if not is_name_map:
            yield pointer, keyword, node
        for key, value in node.items():
            at = f"{pointer}/{escape(key)}"
            if is_name_map:
                yield from _walk(value, at, keyword)
            elif key not in LITERALS and not key.startswith("x-"):
                yield from _walk(value, at, key, is_name_map=key in NAME_MAPS)
