"""Joins the hand-written contract into one OpenAPI document a dialect: `python -m tools.bundle [--check]`.

Path items are put in place of the `$ref` under a root's `paths`. Every other part lives in a file whose
base name is its kind (`schemas.yaml`, `responses.yaml`, …) and is hoisted to `#/components/<kind>/<Name>`:
names stay stable, recursion stays finite, and generated clients keep their class names. A name means one
part only, over the whole bundle.
"""

import argparse
import difflib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tools import spec_yaml

SOURCE = Path(__file__).resolve().parent.parent / "openapi"
DIALECTS = ("native", "envelope")
KINDS = (
    "schemas",
    "parameters",
    "headers",
    "requestBodies",
    "responses",
    "examples",
    "links",
)

# Mappings whose keys are names, not keywords: a property called `default` or `$ref` is just a property there.
NAME_MAPS = frozenset(KINDS) | {
    "callbacks",
    "content",
    "encoding",
    "paths",
    "patternProperties",
    "properties",
    "securitySchemes",
    "variables",
}
# Keywords whose value is data: a `$ref` within an example belongs to the example.
LITERALS = frozenset({"default", "enum", "example", "value"})


class Part(NamedTuple):
    """One reusable part: the file that it stands in and its name there."""

    file: Path
    name: str

    @property
    def kind(self) -> str:
        """The component kind, said by the file's base name."""
        return self.file.stem


@dataclass
class Bundle:
    """One joined document, the parts in it, and the file of each path."""

    document: dict[str, Any]
    parts: set[Part] = field(default_factory=set)
    path_files: dict[str, Path] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The document as it is committed: JSON, one value a line, so that a change shows as a small diff."""
        return (json.dumps(self.document, ensure_ascii=False, indent=1) + "\n").encode()


class BundleError(Exception):
    """The sources do not join; `faults` has one line each, with file and pointer."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def escape(key: str) -> str:
    """One member of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


class _Bundler:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[Path, dict[str, Any]] = {}
        self.unreadable: set[Path] = set()
        self.faults: list[str] = []
        self.hoisted: dict[tuple[str, str], Part] = {}
        self.pending: list[Part] = []
        self.path_files: dict[str, Path] = {}

    def run(self) -> Bundle:
        root = self.read(self.root, self.root, "") or {}
        components = root.get("components", {})
        for kind, named in components.items():
            for name in named:
                if not _is_reference(named[name]):
                    self.hoisted[kind, name] = Part(self.root, name)
        document = {
            key: self.join_paths(value) if key == "paths" else self.join(value, self.root, f"/{escape(key)}")
            for key, value in root.items()
            if key != "components"
        }
        collected = self.join_components(components)
        while self.pending:
            part = self.pending.pop()
            content = self.join(self.files[part.file][part.name], part.file, f"/{escape(part.name)}")
            collected.setdefault(part.kind, {})[part.name] = content
        if self.faults:
            raise BundleError(self.faults)
        kinds = (kind for kind in (*KINDS, "securitySchemes") if kind in collected)
        document["components"] = {kind: dict(sorted(collected[kind].items())) for kind in kinds}
        parts = {part for part in self.hoisted.values() if part.file != self.root}
        return Bundle(document, parts, self.path_files)

    def fault(self, file: Path, pointer: str, message: str) -> None:
        self.faults.append(f"{_display(file)}#{pointer}: {message}")

    def read(self, file: Path, referrer: Path, pointer: str) -> dict[str, Any] | None:
        """One source file, read once; None (and a fault) when it cannot be read."""
        if file in self.files:
            return self.files[file]
        if file not in self.unreadable:
            try:
                self.files[file] = spec_yaml.load(file)
                return self.files[file]
            except spec_yaml.SpecYamlError as error:
                self.unreadable.add(file)
                if file.exists():
                    self.faults.append(str(error).replace(str(file), _display(file), 1))
        if not file.exists():
            self.fault(referrer, pointer, f"no such file: {_display(file)}")
        return None

    def join_paths(self, paths: dict[str, Any]) -> dict[str, Any]:
        """The root's `paths`, each entry replaced by the path item of its file."""
        joined = {}
        for path, entry in paths.items():
            pointer = f"/paths/{escape(path)}"
            if not (_is_reference(entry) and len(entry) == 1) or "#" in entry["$ref"]:
                self.fault(self.root, pointer, "a path must be only `$ref: <dialect>/<resource>/<file>.yaml`")
                continue
            file = _resolve(self.root, entry["$ref"])
            item = self.read(file, self.root, pointer)
            if item is not None:
                self.path_files[path] = file
                joined[path] = self.join(item, file, "")
        return joined

    def join_components(self, components: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The root's own `components`: parts written there, and parts to keep though nothing uses them."""
        collected: dict[str, dict[str, Any]] = {}
        for kind, named in components.items():
            for name, content in named.items():
                pointer = f"/components/{kind}/{escape(name)}"
                if not _is_reference(content):
                    collected.setdefault(kind, {})[name] = self.join(content, self.root, pointer)
                    continue
                target = self.hoist(content["$ref"], self.root, pointer)
                if target and target != f"#/components/{kind}/{escape(name)}":
                    self.fault(self.root, pointer, f"refers to {target}: a part keeps its own name and kind")
        return collected

    def join(self, node: Any, file: Path, pointer: str, *, is_name_map: bool = False) -> Any:
        """A copy of `node` in which every reference points into `#/components`."""
        if isinstance(node, list):
            return [self.join(item, file, f"{pointer}/{index}") for index, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        if not is_name_map and _is_reference(node):
            if len(node) > 1:
                others = ", ".join(sorted(set(node) - {"$ref"}))
                self.fault(file, pointer, f"OpenAPI 3.0 ignores what stands beside a $ref: {others}")
            return {"$ref": self.hoist(node["$ref"], file, pointer)}
        joined = {}
        for key, value in node.items():
            at = f"{pointer}/{escape(key)}"
            if not is_name_map and (key in LITERALS or key.startswith("x-")):
                joined[key] = value
            elif not is_name_map and key == "discriminator":
                joined[key] = self.join_discriminator(value, file, at)
            else:
                joined[key] = self.join(value, file, at, is_name_map=not is_name_map and key in NAME_MAPS)
        return joined

    def join_discriminator(self, node: dict[str, Any], file: Path, pointer: str) -> dict[str, Any]:
        """A discriminator, its `mapping` (references without the word `$ref`) rewritten."""
        if "mapping" not in node:
            return node
        mapping = {
            value: self.hoist(reference, file, f"{pointer}/mapping/{escape(value)}")
            for value, reference in node["mapping"].items()
        }
        return {**node, "mapping": mapping}

    def hoist(self, reference: str, file: Path, pointer: str) -> str:
        """The place of a referenced part within the bundle; empty, and a fault, when there is none."""
        location, mark, fragment = reference.partition("#")
        if file == self.root and not location and fragment.startswith("/components/"):
            _, _, kind, name = (*fragment.split("/", 3), "")[:4]
            if (kind, name) not in self.hoisted:
                self.fault(file, pointer, f"nothing is written at {reference}")
            return reference
        name = fragment.removeprefix("/").replace("~1", "/").replace("~0", "~")
        part = Part(_resolve(file, location) if location else file, name)
        if part.kind not in KINDS:
            kinds = ", ".join(f"{kind}.yaml" for kind in KINDS)
            self.fault(file, pointer, f"{reference}: parts live in files named {kinds}")
            return ""
        if not mark or not fragment.startswith("/") or "/" in fragment[1:]:
            self.fault(file, pointer, f"{reference}: a reference is written <file>#/<Name>")
            return ""
        names = self.read(part.file, file, pointer)
        if names is None:
            return ""
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            self.fault(file, pointer, f"{_display(part.file)} has no {name}{hint}")
            return ""
        holder = self.hoisted.get((part.kind, name))
        if holder is None:
            self.hoisted[part.kind, name] = part
            self.pending.append(part)
        elif holder != part:
            files = f"{_display(holder.file)} and {_display(part.file)}"
            self.fault(file, pointer, f"two different parts are called {part.kind}/{name}: {files}")
        return f"#/components/{part.kind}/{escape(name)}"


def _is_reference(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("$ref"), str)


def _resolve(file: Path, location: str) -> Path:
    """A reference's file; `normpath`, since one that does not exist must be shown as the author meant it."""
    return Path(os.path.normpath(file.parent / location))


def _display(file: Path) -> str:
    return os.path.relpath(file, SOURCE.parent) if file.is_relative_to(SOURCE.parent) else str(file)


def bundle(root: Path) -> Bundle:
    """Join one dialect.

    Args:
        root: the dialect's root file.

    Raises:
        BundleError: with all faults of the sources, not only the first.
    """
    return _Bundler(root).run()


def main(arguments: list[str] | None = None) -> int:
    """Write both bundles, or with `--check` tell which is stale; the exit code is 0 only when all is well."""
    parser = argparse.ArgumentParser(
        "python -m tools.bundle", description="Join openapi/ into openapi/dist/."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a bundle is stale")
    check = parser.parse_args(arguments).check
    status = 0
    for dialect in DIALECTS:
        target = SOURCE / "dist" / f"{dialect}.json"
        try:
            encoded = bundle(SOURCE / f"{dialect}.yaml").encode()
        except BundleError as error:
            print(error, file=sys.stderr)
            status = 1
            continue
        if target.exists() and target.read_bytes() == encoded:
            continue
        if check:
            print(f"{_display(target)} is stale: run python -m tools.bundle", file=sys.stderr)
            status = 1
        else:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(encoded)
            print(f"wrote {_display(target)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
