"""Imported before the server's libraries, keeps out what they bring along and a server never uses.

The SDK imports some 2,600 modules of types when it is imported, and libraries look for optional companions
that happen to be installed: a third of the memory and half of the start. What the SDK's packages re-export by
name is imported when it is first asked for; what they re-export by `*`, and the companions, are not there.
"""

import ast
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader, find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

LAZY_PACKAGES = ("anthropic", "anthropic.lib", "anthropic.resources", "anthropic.types")
"""Packages that are entered without running their `__init__.py`, and those below them."""

LAZY_FUNCTIONS = ("anthropic._error_classes", "anthropic.lib._tracing._api_call")
"""Modules of which the SDK takes functions, run when one is called: what they do for an error status and a
span, the gateway does itself."""

LAZY_MODULES = ("requests",)
"""Run when an attribute is first asked for: Connexion would fetch specs by it."""

ABSENT = (
    "anthropic._vendor.httpx_aiohttp",
    "httpx._main",
    "httpx2._main",
    "isoduration",
    "mako.ext.pygmentplugin",
    "rfc3987_syntax",
    "watchfiles",
)
"""Optional companions, which their users do without: a second HTTP client for the SDK, command lines of HTTP
clients, formats of `jsonschema` that no schema of ours names, colours for Mako, uvicorn's reloader."""


class Package(ModuleType):
    """A package whose `from .module import name` are done one by one, when they are asked for."""

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        if name == "_exports":
            self._exports = _exports(self.__spec__)
            return self._exports
        if name in self._exports:
            module, attribute = self._exports[name]
            value = getattr(importlib.import_module(module, self.__name__), attribute)
            setattr(self, name, value)
            return value
        if not name.startswith("__") and find_spec(f"{self.__name__}.{name}"):
            return importlib.import_module(f"{self.__name__}.{name}")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)


def _exports(spec: ModuleSpec | None) -> dict[str, tuple[str, str]]:
    """What a package's `__init__.py` takes from modules beside it: the module and the name there, by name."""
    assert spec is not None
    assert spec.origin is not None
    return {
        alias.asname or alias.name: ("." * node.level + node.module, alias.name)
        for node in ast.parse(Path(spec.origin).read_bytes()).body
        if isinstance(node, ast.ImportFrom) and node.level and node.module
        for alias in node.names
    }


class Functions(ModuleType):
    """A module that has each function that it is asked for, and runs when one is called."""

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

        def function(*args: Any, **kwargs: Any) -> Any:
            if name not in vars(self):
                assert self.__spec__ is not None
                self.__spec__.loader_state.exec_module(self)
            return vars(self)[name](*args, **kwargs)

        return function


class _Empty(Loader):
    """Makes a module and leaves it empty; the loader that would fill it is its `loader_state`."""

    def __init__(self, kind: type[ModuleType]) -> None:
        self._kind = kind

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._kind(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """The module does that itself."""


class Finder(MetaPathFinder):
    """Asked before Python's own finders."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None leaves a module to Python's own finders.

        Raises:
            ModuleNotFoundError: it is one of `ABSENT`.
        """
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        top = name.partition(".")[0]
        if top not in LAZY_PACKAGES and top not in LAZY_MODULES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        if name in LAZY_MODULES:
            spec.loader = LazyLoader(spec.loader)
        elif name in LAZY_FUNCTIONS:
            spec.loader_state, spec.loader = spec.loader, _Empty(Functions)
        elif name == top or (spec.submodule_search_locations and _is_below(name)):
            spec.loader = _Empty(Package)
        return spec


def _is_below(name: str) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in LAZY_PACKAGES[1:])


if not any(isinstance(finder, Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, Finder())
