"""The settings table and env.example tell of every setting, and tell the truth."""

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from gateway.settings import NAMES, Settings, load
from tools import settings_page

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "env.example"
ENTRY = re.compile(r"^#?(?P<name>[A-Z][A-Z_]+)=(?P<value>.*)$", re.MULTILINE)


def entries() -> list[tuple[str, str]]:
    return [(entry["name"], entry["value"]) for entry in ENTRY.finditer(EXAMPLE.read_text())]


def test_the_table_is_fresh() -> None:
    page = settings_page.PAGE.read_text()

    assert settings_page.render(page) == page, "run make docs"


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)`", settings_page.PAGE.read_text(), re.MULTILINE)

    assert len(rows) == len(set(rows))
    assert set(rows) == NAMES


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page must hold"):
        settings_page.render("# Settings\n")


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_setting_has_a_description(name: str, field: FieldInfo) -> None:
    assert field.description, name
    assert field.description.endswith("."), name


def test_the_example_names_each_setting_once() -> None:
    assert sorted(name for name, _ in entries()) == sorted(NAMES)


def test_the_example_as_it_stands_lacks_only_the_key() -> None:
    active = [name for name, _ in re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)]
    assert active == ["ANTHROPIC_API_KEY"]

    settings = load({"ANTHROPIC_API_KEY": "sk-ant-x"}, EXAMPLE)

    assert settings == Settings(anthropic_api_key="sk-ant-x")  # type: ignore[arg-type]


def test_every_example_value_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "pem").touch()
    values = {name: value for name, value in entries() if value}
    values |= dict.fromkeys(("TLS_CERT_FILE", "TLS_KEY_FILE"), str(tmp_path / "pem"))

    assert load(values | {"ANTHROPIC_API_KEY": "sk-ant-x"}, tmp_path / "none.env")


def test_a_value_that_is_not_called_an_example_is_the_default() -> None:
    paragraphs = [text for text in EXAMPLE.read_text().split("\n\n") if "(example" not in text]
    defaults = Settings(upstream="sandbox")
    shown = [
        (entry["name"], entry["value"]) for entry in ENTRY.finditer("\n\n".join(paragraphs)) if entry["value"]
    ]
    assert len(shown) > 10
    for name, value in shown:
        settings = load({"ANTHROPIC_API_KEY": "sk-ant-x", name: value}, "none.env")
        default = "anthropic" if name == "UPSTREAM" else getattr(defaults, name.lower())
        assert getattr(settings, name.lower()) == default, name
