"""Clients are generated from the envelope's spec, and each lives through the same story.

It has a message, a stream, a count, a batch with its results, a file there and back, typed errors, and a
limit that says when to come again.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import stories
from tests.support.gateway import ADMIN_KEY, Gateway
from tests.support.stories import Story
from tools.clients import SPEC, GenerationFailed, generate

pytestmark = pytest.mark.clients

Prepared = Callable[[str], Story]

REMOVED = {
    "content": "Message",
    "output_tokens": "Usage",
    "processing_status": "MessageBatch",
    "size_bytes": "FileMetadata",
    "error_type": "FailureMetadata",
}
"""Fields that answers have and the stories read, with the schema of each."""


@pytest.mark.parametrize("language", stories.LANGUAGES)
def test_story(sandboxed: Gateway, tmp_path: Path, language: str) -> None:
    story = stories.prepare(language, tmp_path / language)

    story.check()
    story.tell(sandboxed.url, ADMIN_KEY)


@pytest.mark.parametrize("language", stories.LANGUAGES)
def test_a_field_that_is_taken_from_the_spec_is_missed(tmp_path: Path, language: str) -> None:
    spec = json.loads(SPEC.read_text())
    for name, schema in REMOVED.items():
        remove(spec["components"]["schemas"][schema], name)
    poorer = tmp_path / "spec.json"
    poorer.write_text(json.dumps(spec))
    story = stories.prepare(language, tmp_path / language, poorer)

    with pytest.raises(AssertionError) as missed:
        story.check()

    report = str(missed.value).lower().replace("_", "")
    assert [name for name in REMOVED if f"{name.replace('_', '')}" not in report] == []


def remove(schema: dict[str, Any], name: str) -> None:
    del schema["properties"][name]
    schema["required"].remove(name)


def test_a_generator_that_warns_has_failed(tmp_path: Path) -> None:
    spec = json.loads(SPEC.read_text())
    content: Mapping[str, Any] = {"application/yaml": {"schema": {"type": "string"}}}
    spec["paths"]["/health"]["get"]["responses"]["200"]["content"] = content
    odd = tmp_path / "spec.json"
    odd.write_text(json.dumps(spec))

    with pytest.raises(GenerationFailed, match="application/yaml"):
        generate("python", tmp_path / "python", odd)
