"""The bundler: where parts end up, and what it says when the sources do not join."""

import json
from pathlib import Path

import pytest

from tools import bundle as program
from tools.bundle import BundleError, Part, bundle
from tools.spec_yaml import SpecYamlError, load

ROOT = """
openapi: 3.0.3
info: {title: T, version: 1.0.0}
paths:
  /things: {$ref: native/things/collection.yaml}
components:
  schemas:
    Event: {$ref: native/things/schemas.yaml#/Event}
  securitySchemes:
    ApiKey: {type: apiKey, in: header, name: x-api-key}
"""
COLLECTION = """
parameters: [{$ref: ../../shared/parameters.yaml#/Limit}]
get:
  responses:
    '200':
      description: on
      content:
        application/json:
          schema: {$ref: schemas.yaml#/Thing}
          examples:
            one: {$ref: examples.yaml#/One}
"""
SCHEMAS = """
Thing:
  oneOf: [{$ref: '#/Leaf'}, {$ref: '#/Branch'}]
  discriminator: {propertyName: type, mapping: {leaf: '#/Leaf', branch: '#/Branch'}}
Leaf: {type: object, properties: {default: {$ref: '#/Text'}, $ref: {type: string}}}
Branch: {type: object, properties: {things: {type: array, items: {$ref: '#/Thing'}}}}
Text: {type: string, default: yes, example: 2026-01-01}
Event: {type: object}
Orphan: {type: object}
"""
TWIN = "Event: {$ref: ../schemas.yaml#/Text}"
FILES = {
    "native.yaml": ROOT,
    "native/things/collection.yaml": COLLECTION,
    "native/things/schemas.yaml": SCHEMAS,
    "native/things/examples.yaml": "One: {value: {$ref: '#/not/ours', 'n': 1.5e3}}",
    "shared/parameters.yaml": "Limit: {name: limit, in: query, schema: {type: integer}}",
}


def write(folder: Path, **changed: str) -> Path:
    for name, text in (FILES | changed).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder / "native.yaml"


def test_parts_are_hoisted_under_their_own_names(tmp_path: Path) -> None:
    joined = bundle(write(tmp_path))
    item = joined.document["paths"]["/things"]
    assert item["parameters"] == [{"$ref": "#/components/parameters/Limit"}]
    media_type = item["get"]["responses"]["200"]["content"]["application/json"]
    assert media_type["schema"] == {"$ref": "#/components/schemas/Thing"}
    components = joined.document["components"]
    assert list(components) == ["schemas", "parameters", "examples", "securitySchemes"]
    assert list(components["schemas"]) == ["Branch", "Event", "Leaf", "Text", "Thing"]
    branch = components["schemas"]["Branch"]
    assert branch["properties"]["things"]["items"] == {"$ref": "#/components/schemas/Thing"}
    assert components["schemas"]["Thing"]["discriminator"]["mapping"] == {
        "leaf": "#/components/schemas/Leaf",
        "branch": "#/components/schemas/Branch",
    }
    assert Part(tmp_path / "native/things/schemas.yaml", "Orphan") not in joined.parts
    assert joined.path_files == {"/things": tmp_path / "native/things/collection.yaml"}


def test_names_and_data_are_not_taken_for_keywords(tmp_path: Path) -> None:
    components = bundle(write(tmp_path)).document["components"]
    assert components["schemas"]["Leaf"]["properties"] == {
        "default": {"$ref": "#/components/schemas/Text"},
        "$ref": {"type": "string"},
    }
    assert components["examples"]["One"]["value"] == {"$ref": "#/not/ours", "n": 1500.0}


def test_yaml_keeps_words_and_dates_as_written(tmp_path: Path) -> None:
    text = bundle(write(tmp_path)).document["components"]["schemas"]["Text"]
    assert text == {"type": "string", "default": "yes", "example": "2026-01-01"}


def test_encoding_is_stable_json(tmp_path: Path) -> None:
    encoded = bundle(write(tmp_path)).encode()
    assert encoded == bundle(write(tmp_path)).encode()
    assert json.loads(encoded)["openapi"] == "3.0.3"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"native.yaml": ROOT.replace("collection", "gone")}, "native.yaml#/paths/~1things: no such file: "),
        ({"native.yaml": ROOT.replace("Event: {$", "Other: {$")}, "a part keeps its own name and kind"),
        (
            {"native.yaml": ROOT.replace("{$ref: native/things/collection.yaml}", "{get: {}}")},
            "native.yaml#/paths/~1things: a path must be only `$ref: ",
        ),
        ({"native/things/collection.yaml": COLLECTION.replace("/Thing}", "/Thign}")}, "did you mean Thing?"),
        (
            {"native/things/collection.yaml": COLLECTION.replace("#/Thing", "#/Leaf/type")},
            "a reference is written <file>#/<Name>",
        ),
        (
            {"native/things/collection.yaml": COLLECTION.replace("schemas.yaml", "things.yaml")},
            "parts live in files named schemas.yaml, ",
        ),
        (
            {"native/things/collection.yaml": COLLECTION.replace("/Thing}", "/Thing, nullable: true}")},
            "OpenAPI 3.0 ignores what stands beside a $ref: nullable",
        ),
        (
            {
                "native/things/schemas.yaml": SCHEMAS.replace("Event: {type: object}", TWIN),
                "native/schemas.yaml": "Text: {type: string}",
            },
            "two different parts are called schemas/Text: ",
        ),
        ({"native/things/schemas.yaml": SCHEMAS + "Leaf: {}\n"}, "schemas.yaml:10: duplicate key 'Leaf'"),
    ],
)
def test_faults_name_file_and_place(tmp_path: Path, changed: dict[str, str], fault: str) -> None:
    with pytest.raises(BundleError) as raised:
        bundle(write(tmp_path, **changed))
    assert fault in str(raised.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    changed = COLLECTION.replace("/Thing}", "/Thign}").replace("/One}", "/Two}")
    with pytest.raises(BundleError) as raised:
        bundle(write(tmp_path, **{"native/things/collection.yaml": changed}))
    assert len(raised.value.faults) == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: {b: 1, b: 2}", "duplicate key 'b'"),
        ("200: ok", "key 200 is not a string, quote it"),
        ("true: ok", "key True is not a string, quote it"),
        ("- a", "the top level must be a mapping"),
        ("a: [", "did not find expected node content"),
    ],
)
def test_odd_yaml_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecYamlError, match=fault):
        load(file)


def test_check_tells_a_stale_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    monkeypatch.setattr(program, "SOURCE", tmp_path)
    monkeypatch.setattr(program, "DIALECTS", ("native",))
    assert program.main(["--check"]) == 1
    assert "native.json is stale: run python -m tools.bundle" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
    assert program.main([]) == 0
    assert program.main(["--check"]) == 0
    write(tmp_path, **{"native.yaml": ROOT.replace("title: T", "title: U")})
    assert program.main(["--check"]) == 1
