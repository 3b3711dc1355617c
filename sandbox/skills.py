"""The nine skill calls: skills, their versions, and a version's content."""

import io
import re
import zipfile
from dataclasses import dataclass, field
from typing import Any

from sandbox import pages, times
from sandbox.errors import ApiError, invalid, not_found
from sandbox.http import Request, Response, ok
from sandbox.ids import Ids
from sandbox.multipart import Form, read_form
from sandbox.storage import Blob, Storage

_ANTHROPIC = {
    "docx": "Create and edit Word documents.",
    "pdf": "Read, fill in and create PDF documents.",
    "pptx": "Create and edit presentations.",
    "xlsx": "Create and analyse spreadsheets.",
}
_ANTHROPIC_SINCE = "2025-10-16T00:00:00.000000Z"
_ANTHROPIC_VERSION = "20251013"
_MANIFEST = "SKILL.md"
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FRONTMATTER = re.compile(r"^(name|description):\s*(.+?)\s*$", re.MULTILINE)
_MAX_NAME = 255
_MAX_VERSIONS = 100


@dataclass(slots=True)
class Version:
    """A version: what the API says of it, and its archive."""

    info: dict[str, Any]
    archive: Blob | None


@dataclass(slots=True)
class Skill:
    """A skill and its versions, oldest first."""

    info: dict[str, Any]
    versions: dict[str, Version] = field(default_factory=dict)

    @property
    def is_custom(self) -> bool:
        """Whether it may be changed."""
        return bool(self.info["source"]["type"] == "custom")

    @property
    def name(self) -> str:
        """The slug that all its versions share."""
        return str(next(iter(self.versions.values())).info["name"])


class Skills:
    """The skills: Anthropic's own, and what was uploaded."""

    def __init__(self, ids: Ids, storage: Storage, max_skills: int) -> None:
        self._ids = ids
        self._storage = storage
        self._max_skills = max_skills
        self._skills = {name: _anthropic(name, description) for name, description in _ANTHROPIC.items()}

    async def create(self, request: Request) -> Response:
        """POST /v1/skills."""
        if len(self._skills) >= self._max_skills:
            raise ApiError(400, "The sandbox keeps no more skills", error_code="storage_quota_exceeded")
        form = await read_form(request, self._storage)
        try:
            name, description = _manifest(form)
            label = form.fields.get("display_name") or form.fields.get("display_title") or name
            if len(label) > _MAX_NAME:
                raise invalid(f"display_name: String should have at most {_MAX_NAME} characters")
            archive = self._archive(form)
        finally:
            form.discard()
        now = times.now()
        skill = Skill(
            {
                "id": self._ids.new("skill"),
                "type": "skill",
                "display_name": label,
                "latest_version_id": "",
                "source": {"type": "custom"},
                "created_at": now,
                "updated_at": now,
            }
        )
        self._add_version(skill, name, description, archive)
        self._skills[skill.info["id"]] = skill
        return ok(skill.info)

    async def list_all(self, request: Request) -> Response:
        """GET /v1/skills."""
        source = request.query("source")
        infos = [
            skill.info
            for skill in self._skills.values()
            if source is None or skill.info["source"]["type"] == source
        ]
        return ok(pages.by_token(request, sorted(infos, key=_id, reverse=True)))

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/skills/{skill_id}."""
        return ok(self._find(request).info)

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/skills/{skill_id}: its versions go too."""
        skill = self._custom(request)
        del self._skills[skill.info["id"]]
        for version in skill.versions.values():
            _discard(version)
        return ok({"id": skill.info["id"], "type": "skill_deleted"})

    async def create_version(self, request: Request) -> Response:
        """POST /v1/skills/{skill_id}/versions: the name must stay the same."""
        skill = self._custom(request)
        if len(skill.versions) >= _MAX_VERSIONS:
            raise ApiError(
                400, "The sandbox keeps no more versions of a skill", error_code="storage_quota_exceeded"
            )
        form = await read_form(request, self._storage)
        try:
            name, description = _manifest(form)
            if name != skill.name:
                raise invalid(f"files: the skill is named {skill.name!r}, and {name!r} is another name")
            archive = self._archive(form)
        finally:
            form.discard()
        return ok(self._add_version(skill, name, description, archive).info)

    async def list_versions(self, request: Request) -> Response:
        """GET /v1/skills/{skill_id}/versions, newest first."""
        infos = [version.info for version in self._find(request).versions.values()]
        return ok(pages.by_token(request, sorted(infos, key=_id, reverse=True)))

    async def retrieve_version(self, request: Request) -> Response:
        """GET /v1/skills/{skill_id}/versions/{version}."""
        return ok(_version(self._find(request), request).info)

    async def delete_version(self, request: Request) -> Response:
        """DELETE /v1/skills/{skill_id}/versions/{version}: a skill keeps at least one."""
        skill = self._custom(request)
        version = _version(skill, request)
        if len(skill.versions) == 1:
            raise invalid("A skill holds at least one version: delete the skill instead")
        del skill.versions[version.info["id"]]
        _discard(version)
        skill.info["latest_version_id"] = next(reversed(skill.versions))
        skill.info["updated_at"] = times.now()
        return ok({"id": version.info["id"], "type": "skill_version_deleted"})

    async def download_version(self, request: Request) -> Response:
        """GET /v1/skills/{skill_id}/versions/{version}/content: a zip archive."""
        skill = self._find(request)
        version = _version(skill, request)
        if version.archive is None:
            raise ApiError(403, "Skills of Anthropic's own cannot be downloaded")
        disposition = f'attachment; filename="{skill.name}.zip"'.encode()
        return Response(
            version.archive.chunks(),
            content_type=b"application/zip",
            headers=[
                (b"content-length", b"%d" % version.archive.size),
                (b"content-disposition", disposition),
            ],
        )

    def _find(self, request: Request) -> Skill:
        skill = self._skills.get(request.params[0])
        if skill is None:
            raise not_found(f"Skill not found: {request.params[0]}")
        return skill

    def _custom(self, request: Request) -> Skill:
        skill = self._find(request)
        if not skill.is_custom:
            raise ApiError(403, "Skills of Anthropic's own are shared and read-only")
        return skill

    def _add_version(self, skill: Skill, name: str, description: str, archive: Blob) -> Version:
        info = {
            "id": self._ids.new("skillver"),
            "type": "skill_version",
            "skill_id": skill.info["id"],
            "name": name,
            "description": description,
            "created_at": times.now(),
        }
        version = skill.versions[info["id"]] = Version(info, archive)
        skill.info["latest_version_id"] = info["id"]
        skill.info["updated_at"] = info["created_at"]
        return version

    def _archive(self, form: Form) -> Blob:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for upload in form.uploads:
                with upload.blob.open() as file:
                    archive.writestr(zipfile.ZipInfo(upload.filename), file.read())
        blob = self._storage.create()
        blob.write(packed.getvalue())
        blob.close()
        return blob


def _manifest(form: Form) -> tuple[str, str]:
    """Name and description from the SKILL.md of an upload; raises `ApiError` 400 when it is no skill."""
    if not form.uploads:
        raise invalid("files: Field required")
    folders = {upload.filename.partition("/")[0] for upload in form.uploads if "/" in upload.filename}
    if len(folders) != 1 or any("/" not in upload.filename for upload in form.uploads):
        raise invalid("files: All files must be in the same top-level directory")
    (folder,) = folders
    manifest = next((one for one in form.uploads if one.filename == f"{folder}/{_MANIFEST}"), None)
    if manifest is None:
        raise invalid(f"files: {_MANIFEST} must be at the root of the top-level directory")
    with manifest.blob.open() as file:
        text = file.read(64 * 1024).decode("utf-8", "replace")
    said = dict(_FRONTMATTER.findall(text.split("---", 2)[1])) if text.startswith("---") else {}
    name = said.get("name", folder).strip("\"'")
    if not _SLUG.fullmatch(name) or len(name) > 64:
        raise invalid(
            f"{_MANIFEST}: `name` must be lower-case words joined by hyphens, 64 characters at most"
        )
    if not said.get("description"):
        raise invalid(f"{_MANIFEST}: `description` is missing in the frontmatter")
    return name, said["description"].strip("\"'")


def _version(skill: Skill, request: Request) -> Version:
    version = skill.versions.get(request.params[1])
    if version is None:
        raise not_found(f"Skill version not found: {request.params[1]}")
    return version


def _discard(version: Version) -> None:
    if version.archive is not None:
        version.archive.delete()


def _id(info: dict[str, Any]) -> str:
    return str(info["id"])


def _anthropic(name: str, description: str) -> Skill:
    info = {
        "id": name,
        "type": "skill",
        "display_name": name,
        "latest_version_id": _ANTHROPIC_VERSION,
        "source": {"type": "anthropic"},
        "created_at": _ANTHROPIC_SINCE,
        "updated_at": _ANTHROPIC_SINCE,
    }
    version = {
        "id": _ANTHROPIC_VERSION,
        "type": "skill_version",
        "skill_id": name,
        "name": name,
        "description": description,
        "created_at": _ANTHROPIC_SINCE,
    }
    return Skill(info, {_ANTHROPIC_VERSION: Version(version, None)})
