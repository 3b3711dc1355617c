"""Skills and their versions in the envelope."""

from urllib.parse import quote

from gateway import relay
from gateway.call import Call
from gateway.pagination import cursors
from gateway.responses import Response, StreamResponse
from gateway.uploads import form_upload

PATH = "/v1/skills"


async def create_skill(call: Call) -> Response:
    """Store a skill with its first version."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "POST", PATH, form_upload(call)))


async def list_skills(call: Call) -> Response:
    """A page of skills."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "GET", f"{PATH}?{cursors(call)}"))


async def get_skill(call: Call, skill_id: str) -> Response:
    """One skill."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "GET", _skill(skill_id)))


async def delete_skill(call: Call, skill_id: str) -> Response:
    """Remove a skill that has no versions left."""
    return await relay.envelope_whole(call, await relay.send_envelope(call, "DELETE", _skill(skill_id)))


async def create_skill_version(call: Call, skill_id: str) -> Response:
    """Store another version of a skill."""
    answer = await relay.send_envelope(call, "POST", f"{_skill(skill_id)}/versions", form_upload(call))
    return await relay.envelope_whole(call, answer)


async def list_skill_versions(call: Call, skill_id: str) -> Response:
    """A page of a skill's versions."""
    answer = await relay.send_envelope(call, "GET", f"{_skill(skill_id)}/versions?{cursors(call)}")
    return await relay.envelope_whole(call, answer)


async def get_skill_version(call: Call, skill_id: str, version: str) -> Response:
    """One version."""
    return await relay.envelope_whole(
        call, await relay.send_envelope(call, "GET", _version(skill_id, version))
    )


async def delete_skill_version(call: Call, skill_id: str, version: str) -> Response:
    """Remove a version."""
    return await relay.envelope_whole(
        call, await relay.send_envelope(call, "DELETE", _version(skill_id, version))
    )


async def download_skill_version(call: Call, skill_id: str, version: str) -> StreamResponse:
    """A version's files, as they come."""
    return await relay.envelope_download(call, f"{_version(skill_id, version)}/content")


def _skill(skill_id: str) -> str:
    return f"{PATH}/{quote(skill_id, safe='')}"


def _version(skill_id: str, version: str) -> str:
    return f"{_skill(skill_id)}/versions/{quote(version, safe='')}"
