"""Reads one YAML file of the contract, strictly: nothing is silently turned into something else."""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is ten times faster


class _StrictLoader(_Loader):  # type: ignore[misc]
    """JSON's scalars only (`on`, `yes`, dates and `017` stay strings), string keys only, each key once."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ConstructorError(
                    None, None, f"key {key!r} is not a string, quote it", key_node.start_mark
                )
            if key in seen:
                raise ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", list("-0123456789")),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


class SpecYamlError(Exception):
    """A file of the contract cannot be read; the text names the file, and the line where there is one."""


def load(path: Path) -> dict[str, Any]:
    """Read one YAML file.

    Args:
        path: the file; its top level must be a mapping.

    Raises:
        SpecYamlError: no such file, bad YAML, a key twice, a key that is no string, or no mapping at the top.
    """
    try:
        document = yaml.load(path.read_bytes(), Loader=_StrictLoader)  # noqa: S506 - derived from SafeLoader
    except OSError as error:
        raise SpecYamlError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecYamlError(f"{path}{line}: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(document, dict):
        raise SpecYamlError(f"{path}: the top level must be a mapping")
    return document
