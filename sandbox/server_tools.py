"""What Anthropic's own tools bring into an answer: a call, its result, perhaps a container or a file."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.errors import not_found
from sandbox.ids import Ids
from sandbox.prompts import Block, Body
from sandbox.tools import Tool, family

_URL = re.compile(r"https?://[^\s<>\"']+")
_LIFETIME = 20 * 60  # seconds
_MAX_CONTAINERS = 1_000
_FILE_WORDS = ("file", "csv", "chart", "plot", "download")


@dataclass(slots=True)
class ServerToolRun:
    """What one run added to an answer."""

    blocks: list[Block]
    searches: int = 0
    fetches: int = 0
    citations: list[Block] = field(default_factory=list)
    uses_container: bool = False


class ServerTools:
    """Runs them.

    Args:
        ids: makes the ids of calls and containers.
        create_file: stores a file's bytes under a name and returns its id.
    """

    def __init__(self, ids: Ids, create_file: Callable[[str, bytes], str]) -> None:
        self._ids = ids
        self._create_file = create_file
        self._containers: OrderedDict[str, float] = OrderedDict()

    def run(self, tool: Tool, text: str) -> ServerToolRun:
        """Runs a tool for what the user said."""
        match family(tool):
            case "web_search":
                return self._search(text)
            case "web_fetch":
                return self._fetch(text)
            case "code_execution":
                return self._execute(tool, text)
        return self._find_tools(tool, text)

    def container(self, body: Body, *, needed: bool) -> dict[str, Any] | None:
        """The container that the answer names: the request's own, or a new one when a tool needed it.

        Raises `ApiError` 404 for a container that is unknown or has expired.
        """
        asked = body.get("container")
        container_id = asked if isinstance(asked, str) else (asked or {}).get("id")
        skills = [] if isinstance(asked, str) else (asked or {}).get("skills") or []
        if container_id is not None:
            if self._containers.get(container_id, 0.0) < time.time():
                raise not_found(f"Container {container_id} not found or expired")
        elif needed or skills:
            container_id = self._ids.new("container")
        else:
            return None
        expiry = time.time() + _LIFETIME
        self._containers[container_id] = expiry
        if len(self._containers) > _MAX_CONTAINERS:
            self._containers.popitem(last=False)
        expires_at = datetime.fromtimestamp(expiry, UTC).isoformat().replace("+00:00", "Z")
        loaded = [
            {"type": one["type"], "skill_id": one["skill_id"], "version": one.get("version", "latest")}
            for one in skills
        ]
        return {"id": container_id, "expires_at": expires_at, "skills": loaded or None}

    def _call(self, name: str, arguments: dict[str, Any]) -> Block:
        call_id = self._ids.new("srvtoolu")
        return {
            "type": "server_tool_use",
            "id": call_id,
            "name": name,
            "input": arguments,
            "caller": {"type": "direct"},
        }

    def _search(self, text: str) -> ServerToolRun:
        call = self._call("web_search", {"query": text[:200]})
        page = {
            "type": "web_search_result",
            "url": "https://example.com/",
            "title": "Example Domain",
            "page_age": None,
        }
        found = {
            "type": "web_search_tool_result",
            "tool_use_id": call["id"],
            "caller": {"type": "direct"},
            "content": [{**page, "encrypted_content": "c2FuZGJveCByZXN1bHQ="}],
        }
        citation = {
            "type": "web_search_result_location",
            "url": page["url"],
            "title": page["title"],
            "encrypted_index": "c2FuZGJveCBpbmRleA==",
            "cited_text": "This domain is for use in examples.",
        }
        return ServerToolRun([call, found], searches=1, citations=[citation])

    def _fetch(self, text: str) -> ServerToolRun:
        found = _URL.search(text)
        url = found[0] if found else "https://example.com/"
        call = self._call("web_fetch", {"url": url})
        source = {"type": "text", "media_type": "text/plain", "data": "This domain is for use in examples."}
        page = {
            "type": "web_fetch_result",
            "url": url,
            "retrieved_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "content": {"type": "document", "title": "Example Domain", "citations": None, "source": source},
        }
        result = {
            "type": "web_fetch_tool_result",
            "tool_use_id": call["id"],
            "caller": {"type": "direct"},
            "content": page,
        }
        return ServerToolRun([call, result], fetches=1)

    def _execute(self, tool: Tool, text: str) -> ServerToolRun:
        """Pretends to run a line of code; brings forth a file when the user spoke of one."""
        python = tool["type"] == "code_execution_20250522"
        files: list[str] = []
        if any(word in text.lower() for word in _FILE_WORDS):
            files.append(self._create_file("output.csv", b"number,square\n1,1\n2,4\n3,9\n"))
        if python:
            call, kind = self._call("code_execution", {"code": "print('sandbox')"}), "code_execution"
        else:
            call, kind = self._call("bash_code_execution", {"command": "echo sandbox"}), "bash_code_execution"
        content = {
            "type": f"{kind}_result",
            "stdout": "sandbox\n",
            "stderr": "",
            "return_code": 0,
            "content": [{"type": f"{kind}_output", "file_id": file_id} for file_id in files],
        }
        result = {"type": f"{kind}_tool_result", "tool_use_id": call["id"], "content": content}
        return ServerToolRun([call, result], uses_container=True)

    def _find_tools(self, tool: Tool, text: str) -> ServerToolRun:
        call = self._call(tool["name"], {"query": text[:200]})
        content: Block = {"type": "tool_search_tool_search_result", "tool_references": []}
        return ServerToolRun(
            [call, {"type": "tool_search_tool_result", "tool_use_id": call["id"], "content": content}]
        )
