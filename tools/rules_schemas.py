"""Rules of the contract about schemas, examples and media types; each yields one line a breach."""

from collections.abc import Iterator
from typing import Any

from openapi.validation import Schemas
from tools.contract import Contract


def examples_are_named(contract: Contract) -> Iterator[str]:
    """An example is a named part, used by `$ref`: docs, sandbox and tests share it."""
    for dialect, pointer, keyword, node in contract.objects():
        if keyword == "content" and "example" in node:
            yield f"{dialect} {pointer}: write `examples` with a $ref, not `example`"
        if keyword == "examples" and not pointer.startswith("/components/examples/") and "$ref" not in node:
            yield f"{dialect} {pointer}: must be a $ref to a part of an examples.yaml"


def examples_show_how(contract: Contract) -> Iterator[str]:
    """What is tried in the documentation works as it stands there: it fills in the examples that it finds."""
    for operation in contract.operations():
        body = contract.resolve(operation.dialect, operation.content.get("requestBody", {}))
        for place, part in {"request": body, **contract.responses(operation)}.items():
            media = part.get("content", {}).get("application/json", {})
            if "$ref" in media.get("schema", {}) and not media.get("examples"):
                yield f"{operation}: {place} has no example"
        for parameter in contract.parameters(operation):
            if parameter["in"] == "path" and "example" not in parameter:
                yield f"{operation}: path parameter {parameter['name']} has no example"
            if not parameter.get("required") and "example" in parameter:
                yield f"{operation}: {parameter['name']}: the page would send its example each time"


def examples_fit_their_schema(contract: Contract) -> Iterator[str]:
    """An example is valid against the schema that it stands beside."""
    schemas = {dialect: Schemas(joined.document) for dialect, joined in contract.bundles.items()}
    for dialect, pointer, _, node in contract.objects():
        examples = {name: contract.resolve(dialect, item) for name, item in node.get("examples", {}).items()}
        values = {name: item["value"] for name, item in examples.items() if "value" in item}
        schema = node.get("schema", node if "type" in node else None)
        if "example" in node:
            values["example"] = node["example"]
        if not isinstance(schema, dict) or not values:
            continue
        validator = schemas[dialect].validator(schema)
        for name, value in values.items():
            if violation := validator.error(value):
                yield f"{dialect} {pointer}: example {name}: {violation}"


def unions_are_mapped(contract: Contract) -> Iterator[str]:
    """A discriminator maps every member of its union, but for a last one that is open."""
    for dialect, pointer, _, node in contract.objects():
        if "discriminator" in node:
            members = [member.get("$ref", "") for member in node.get("oneOf", ())]
            mapped = set(node["discriminator"].get("mapping", {}).values())
            if mapped not in (set(members), set(members[:-1])):
                yield f"{dialect} {pointer}: the mapping must name every member, but for a last open one"


def unions_by_type_are_open(contract: Contract) -> Iterator[str]:
    """A union by `type` ends with a member `Unknown…` whose `type` is any string but those of the others.

    So a name that is newer than the contract passes, and a known one with a missing field still fails.
    """
    for dialect, pointer, _, node in contract.objects():
        discriminator = node.get("discriminator", {})
        if discriminator.get("propertyName") != "type":
            continue
        last = node.get("oneOf", [{}])[-1].get("$ref", "")
        if not last.rpartition("/")[2].startswith("Unknown"):
            yield f"{dialect} {pointer}: the last member must be an open one called Unknown…"
            continue
        required, tag = _property(contract, dialect, {"$ref": last}, "type")
        forgotten = set(discriminator.get("mapping", {})) - set(tag.get("not", {}).get("enum", ()))
        if forgotten:
            yield f"{dialect} {pointer}: the last member must exclude {', '.join(sorted(forgotten))}"
        if not required or tag.get("type") != "string":
            yield f"{dialect} {pointer}: the last member must require the string type"


def union_members_pin_their_tag(contract: Contract) -> Iterator[str]:
    """Each mapped member of a union requires the discriminating property, by `enum` with that value."""
    for dialect, pointer, _, node in contract.objects():
        discriminator = node.get("discriminator", {})
        for value, reference in discriminator.get("mapping", {}).items():
            name = discriminator["propertyName"]
            required, tag = _property(contract, dialect, {"$ref": reference}, name)
            if not required or value not in tag.get("enum", ()):
                member = reference.rpartition("/")[2]
                yield f"{dialect} {pointer}: {member} must require {name} with enum [{value}]"


def _property(
    contract: Contract, dialect: str, schema: dict[str, Any], name: str
) -> tuple[bool, dict[str, Any]]:
    """Whether a schema requires a property, and the property's schema, members of `allOf` counted in."""
    schema = contract.resolve(dialect, schema)
    required = name in schema.get("required", ())
    found = schema.get("properties", {}).get(name, {})
    for member in schema.get("allOf", ()):
        also_required, also_found = _property(contract, dialect, member, name)
        required, found = required or also_required, found or also_found
    return required, contract.resolve(dialect, found)


def models_are_never_enumerated(contract: Contract) -> Iterator[str]:
    """`model` is never an enum: new models must pass."""
    for dialect, pointer, keyword, node in contract.objects():
        is_model = (keyword == "properties" and pointer.endswith("/model")) or node.get("name") == "model"
        schema = contract.resolve(dialect, node.get("schema", node))
        if is_model and "enum" in schema:
            yield f"{dialect} {pointer}: a model must not be an enum"


def nullable_enums_list_null(contract: Contract) -> Iterator[str]:
    """A nullable enum lists null: by OpenAPI 3.0.3 null is refused otherwise."""
    for dialect, pointer, _, node in contract.objects():
        if node.get("nullable") and "enum" in node and None not in node["enum"]:
            yield f"{dialect} {pointer}: nullable, so the enum must list null"


def directions_have_schemas_of_their_own(contract: Contract) -> Iterator[str]:
    """No `readOnly` or `writeOnly`: a request and an answer that differ have schemas of their own."""
    for dialect, pointer, keyword, node in contract.objects():
        if keyword != "x-gateway" and ("readOnly" in node or "writeOnly" in node):
            yield f"{dialect} {pointer}: readOnly and writeOnly are not used here"


def event_streams_are_empty(contract: Contract) -> Iterator[str]:
    """`text/event-stream: {}`: the only form that fuzzers and client generators all take."""
    for dialect, pointer, keyword, node in contract.objects():
        if keyword == "content" and pointer.endswith("/text~1event-stream") and node:
            yield f"{dialect} {pointer}: must be an empty media type"


def envelope_media_types_are_plain(contract: Contract) -> Iterator[str]:
    """The envelope has no `*/*` and no YAML: client generators stumble over them."""
    for dialect, pointer, keyword, _ in contract.objects():
        if (
            dialect == "envelope"
            and keyword == "content"
            and pointer.endswith(("/*~1*", "/application~1yaml"))
        ):
            yield f"{dialect} {pointer}: this media type breaks client generators"
