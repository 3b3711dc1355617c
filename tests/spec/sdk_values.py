"""Values of the SDK's types, made by introspection: right ones, and ones with a single fault.

`Values.right` gives JSON values that together use every field, every union member and every null that the
SDK's type allows. `Values.wrong` gives values with one field of the wrong JSON type, or without a required
field. A schema that takes the first and refuses the second knows the type in full.
"""

import types
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import pydantic
import typing_extensions as te

WRAPPERS = (Annotated, te.Required, te.NotRequired)
UNIONS = (Union, types.UnionType)
SCALARS: dict[Any, Any] = {str: "text", int: 2048, float: 0.5, bool: True, datetime: "2026-01-31T12:00:00Z"}
JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", datetime: "string"}
TAGS = ("type", "role")


class Field(NamedTuple):
    """One field of an SDK type."""

    annotation: Any
    required: bool


class Fault(NamedTuple):
    """A value with a single fault, and where the fault is, as `Class.field`."""

    place: str
    value: Any


def bare(annotation: Any) -> Any:
    while get_origin(annotation) in WRAPPERS:
        annotation = get_args(annotation)[0]
    return annotation


def members(annotation: Any) -> list[Any]:
    """The members of a union, nested ones too; what is no union is its own only member."""
    annotation = bare(annotation)
    if get_origin(annotation) not in UNIONS:
        return [annotation]
    return [inner for member in get_args(annotation) for inner in members(member)]


def is_object(annotation: Any) -> bool:
    return te.is_typeddict(annotation) or (
        isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)
    )


def fields(cls: Any) -> dict[str, Field]:
    if te.is_typeddict(cls):
        hints = te.get_type_hints(cls, include_extras=True)
        return {name: Field(bare(hint), get_origin(hint) is te.Required) for name, hint in hints.items()}
    return {
        info.alias or name: Field(info.annotation, info.is_required())
        for name, info in cls.model_fields.items()
    }


def item(annotation: Any) -> Any:
    """The item type of a list, or None for anything else."""
    return get_args(annotation)[0] if get_origin(annotation) in (list, Iterable, Sequence) else None


def json_types(annotation: Any) -> set[str]:
    """The JSON types that a type allows; empty when it allows anything."""
    found = set()
    for member in members(annotation):
        if member is type(None):
            found.add("null")
        elif member in JSON_TYPES:
            found.add(JSON_TYPES[member])
        elif get_origin(member) is Literal:
            found |= {JSON_TYPES[type(value)] for value in get_args(member)}
        elif item(member):
            found.add("array")
        elif is_object(member) or get_origin(member) is dict:
            found.add("object")
        elif member is object:
            return set()
    return found | ({"integer"} if "number" in found else set())


def wrong_type(annotation: Any) -> Any:
    """A value of a JSON type that the type does not allow, or None when it allows all."""
    allowed = json_types(annotation)
    candidates = {"object": {}, "array": [], "integer": 2048, "string": "text"}
    return next((value for name, value in candidates.items() if allowed and name not in allowed), None)


def tags(annotation: Any) -> set[str]:
    """Every value of a `type` or `role` that the type, or one within it, is told apart by."""
    found: set[str] = set()
    seen: set[Any] = set()
    pending = [annotation]
    while pending:
        for member in members(pending.pop()):
            if is_object(member) and member not in seen:
                seen.add(member)
                inner = fields(member)
                pending += [field.annotation for field in inner.values()]
                pinned = [inner[name].annotation for name in TAGS if name in inner]
                found |= {value for tag in pinned for literal in members(tag) for value in get_args(literal)}
            elif get_origin(member) is not Literal:
                pending += get_args(member)
    return found


class Values:
    """Makes the values of one SDK type.

    A type that stands in several places is varied at the first one only, as the schema has one part for it.
    """

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self._without = without
        self._seen: set[Any] = set()

    def right(self, annotation: Any) -> Iterator[Any]:
        """Values that the type allows."""
        self._seen = set()
        yield from self._right(annotation)

    def wrong(self, annotation: Any) -> Iterator[Fault]:
        """Values with one fault each."""
        self._seen = set()
        yield from self._wrong(annotation)

    def least(self, annotation: Any) -> Any:
        """The smallest value of the type."""
        member = members(annotation)[0]
        if get_origin(member) is Literal:
            return get_args(member)[0]
        if is_object(member):
            required = [(name, field) for name, field in self._fields(member) if field.required]
            return {name: self.least(field.annotation) for name, field in required}
        if get_origin(member) is dict:
            return {}
        return [] if item(member) else SCALARS.get(member)

    def _fields(self, cls: Any) -> list[tuple[str, Field]]:
        return [(name, field) for name, field in fields(cls).items() if name not in self._without]

    def _right(self, annotation: Any) -> Iterator[Any]:
        for member in members(annotation):
            if get_origin(member) is Literal:
                yield from get_args(member)
            elif is_object(member):
                yield from self._right_objects(member)
            elif item(member):
                yield []
                yield from ([value] for value in self._right(item(member)))
            elif get_origin(member) is dict:
                yield {}
                yield from ({"key": value} for value in self._right(get_args(member)[1]))
            elif member is type(None) or member in SCALARS:
                yield SCALARS.get(member)

    def _right_objects(self, cls: Any) -> Iterator[Any]:
        least = self.least(cls)
        yield least
        if cls not in self._seen:
            self._seen.add(cls)
            for name, field in self._fields(cls):
                yield from ({**least, name: value} for value in self._right(field.annotation))

    def _wrong(self, annotation: Any) -> Iterator[Fault]:
        for member in members(annotation):
            if is_object(member) and member not in self._seen:
                self._seen.add(member)
                yield from self._wrong_objects(member)
            elif item(member):
                yield from (Fault(place, [value]) for place, value in self._wrong(item(member)))
            elif get_origin(member) is dict:
                yield from (Fault(place, {"key": value}) for place, value in self._wrong(get_args(member)[1]))

    def _wrong_objects(self, cls: Any) -> Iterator[Fault]:
        least = self.least(cls)
        for name, field in self._fields(cls):
            place = f"{cls.__name__.removeprefix('Beta')}.{name}"
            if field.required and name not in TAGS:
                rest = {key: value for key, value in least.items() if key != name}
                yield Fault(f"{place} is missing", rest)
            wrong = wrong_type(field.annotation)
            if wrong is not None:
                yield Fault(f"{place} has a wrong type", {**least, name: wrong})
            for inner, value in self._wrong(field.annotation):
                yield Fault(inner, {**least, name: value})
