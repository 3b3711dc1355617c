"""Skills: the nine calls."""

import io
import zipfile
from typing import Any

import anthropic
import pytest


def upload(name: str = "my-skill", description: str = "Does things.") -> Any:
    manifest = f"---\nname: {name}\ndescription: {description}\n---\n# Go\n".encode()
    return [(f"{name}/SKILL.md", manifest), (f"{name}/scripts/run.py", b"print(1)")]


def test_whole_life(client: anthropic.Anthropic) -> None:
    skill = client.skills.create(files=upload(), display_name="Mine")
    assert (skill.display_name, skill.source.type) == ("Mine", "custom")
    assert client.skills.retrieve(skill.id) == skill
    first = client.skills.versions.retrieve(skill.latest_version_id, skill_id=skill.id)
    assert (first.name, first.description, first.skill_id) == ("my-skill", "Does things.", skill.id)
    second = client.skills.versions.create(skill.id, files=upload(description="Does more."))
    assert client.skills.retrieve(skill.id).latest_version_id == second.id
    assert [version.id for version in client.skills.versions.list(skill.id, limit=1)] == [second.id, first.id]
    archive = client.beta.skills.versions.download(second.id, skill_id=skill.id).read()
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert packed.read("my-skill/scripts/run.py") == b"print(1)"
    assert client.skills.versions.delete(second.id, skill_id=skill.id).type == "skill_version_deleted"
    assert client.skills.retrieve(skill.id).latest_version_id == first.id
    with pytest.raises(anthropic.BadRequestError, match="at least one version"):
        client.skills.versions.delete(first.id, skill_id=skill.id)
    assert client.skills.delete(skill.id).type == "skill_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.skills.retrieve(skill.id)


def test_anthropics_own_are_listed_and_read_only(client: anthropic.Anthropic) -> None:
    custom = client.skills.create(files=upload("other"))
    assert {skill.id for skill in client.skills.list(source="anthropic")} == {"docx", "pdf", "pptx", "xlsx"}
    everything = [skill.id for skill in client.skills.list(limit=2)]
    assert custom.id in everything
    assert len(everything) == len(set(everything))
    version = client.skills.retrieve("pdf").latest_version_id
    assert client.skills.versions.retrieve(version, skill_id="pdf").name == "pdf"
    for call in (
        lambda: client.skills.delete("pdf"),
        lambda: client.skills.versions.create("pdf", files=upload("pdf")),
        lambda: client.skills.versions.delete(version, skill_id="pdf"),
        lambda: client.beta.skills.versions.download(version, skill_id="pdf"),
    ):
        with pytest.raises(anthropic.PermissionDeniedError):
            call()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("SKILL.md", b"x")], "top-level directory"),
        ([("a/SKILL.md", b"x"), ("b/x", b"x")], "top-level directory"),
        ([("a/README.md", b"x")], "SKILL.md must be at the root"),
        ([("a/SKILL.md", b"---\nname: a\n---\n")], "`description` is missing"),
        ([("a/SKILL.md", b"---\nname: A B\ndescription: x\n---\n")], "`name` must be"),
    ],
)
def test_refused(client: anthropic.Anthropic, files: Any, message: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=message):
        client.skills.create(files=files)


def test_a_version_keeps_the_name(client: anthropic.Anthropic) -> None:
    skill = client.skills.create(files=upload("first"))
    with pytest.raises(anthropic.BadRequestError, match="'second' is another name"):
        client.skills.versions.create(skill.id, files=upload("second"))
