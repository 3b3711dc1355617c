"""Gathers the methods of the installed `anthropic` package by the method and path that they send."""

from dataclasses import dataclass

from tools.sdk_methods import Argument, Kind, SdkMethod, methods


@dataclass(frozen=True, slots=True)
class SdkOperation:
    """One method and path, with the SDK methods that reach it (GA first) and the helpers built on them."""

    method: str
    path: str
    methods: tuple[SdkMethod, ...]
    helpers: tuple[SdkMethod, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def id(self) -> str:
        """The operationId that the house rule gives it."""
        return self.methods[0].name.replace(".", "_")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its methods, GA first."""
        return tuple(method.name for method in self.methods)

    @property
    def kinds(self) -> frozenset[Kind]:
        """How its answers are read; two kinds where the caller chooses."""
        kinds = {method.kind for method in self.methods}
        return frozenset(kinds | {Kind.SSE for method in self.methods if method.may_stream})

    @property
    def query(self) -> tuple[Argument, ...]:
        """The query parameters of all its methods, each once."""
        return tuple({one.name: one for method in self.methods for one in method.query}.values())

    @property
    def headers(self) -> tuple[str, ...]:
        """The `anthropic-*` headers of all its methods, each once."""
        return tuple({one.name: one for method in self.methods for one in method.headers})

    @property
    def body(self) -> tuple[Argument, ...]:
        """The body fields of all its methods, each once."""
        return tuple({one.name: one for method in self.methods for one in method.body}.values())

    @property
    def request_type(self) -> str | None:
        """The media type of its body, None where it has none."""
        if self.methods[0].multipart:
            return "multipart/form-data"
        return "application/json" if self.body else None


def operations() -> list[SdkOperation]:
    """Return every distinct method and path of the installed SDK, sorted by path."""
    found: dict[tuple[str, str], list[SdkMethod]] = {}
    for method in methods():
        found.setdefault((method.path, method.method), []).append(method)
    return [
        SdkOperation(
            method=verb,
            path=path,
            methods=tuple(sorted((one for one in group if not one.helper), key=lambda one: one.is_beta)),
            helpers=tuple(one for one in group if one.helper),
        )
        for (path, verb), group in sorted(found.items())
    ]
