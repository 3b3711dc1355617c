"""Conversations that the server holds (beta `message-threads`): a call sends its new turn only.

A thread is known by the id of its last answer, and each answer can be continued once.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from sandbox.errors import ApiError, invalid
from sandbox.prompts import Body

_BETA = "message-threads-"
_MAX_BYTES = 64 * 1024**2
"""What the turns of all threads may take; the longest unused thread goes first."""
_FROM_CREATION = ("system", "tools")


@dataclass(slots=True)
class Thread:
    """A conversation up to one answer."""

    messages: list[dict[str, Any]]
    created_with: dict[str, Any]
    size: int
    continued: bool = False


class Threads:
    """The threads, the last used one last."""

    def __init__(self, *, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._threads: OrderedDict[str, Thread] = OrderedDict()

    def resume(self, body: Body, betas: str) -> Body:
        """The request with the whole conversation, where it continues a thread; any other request as it is.

        Args:
            body: the request as it came.
            betas: its `anthropic-beta` header.

        Raises:
            ApiError: 400 without the beta, or when an answer is continued twice, or when a continuation
                brings fields that only a creation may; 404 for an unknown thread.
        """
        thread: dict[str, Any] | None = body.get("thread")
        if not thread:
            return body
        if _BETA not in betas:
            raise invalid("thread: Extra inputs are not permitted")
        if thread["type"] != "continue":
            return body
        for name in _FROM_CREATION:
            if name in body:
                raise invalid(f"{name}: not permitted when a thread is continued")
        held = self._find(thread["previous_message_id"])
        return {**held.created_with, **body, "messages": held.messages + body["messages"]}

    def hold(self, body: Body, message: dict[str, Any], size: int) -> None:
        """Remembers the conversation up to `message`, if the request asked for it and was not refused.

        Args:
            body: the request with its whole conversation.
            message: its answer.
            size: the bytes of the request as it came.
        """
        thread: dict[str, Any] | None = body.get("thread")
        if not thread or message["stop_reason"] == "refusal":
            return
        if thread["type"] == "continue":
            self._threads[thread["previous_message_id"]].continued = True
        answer = {"role": "assistant", "content": message["content"]}
        created_with = {name: body[name] for name in _FROM_CREATION if name in body}
        self._threads[message["id"]] = Thread([*body["messages"], answer], created_with, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._threads.popitem(last=False)
            self._bytes -= oldest.size

    def _find(self, message_id: str) -> Thread:
        held = self._threads.get(message_id)
        if held is None:
            raise ApiError(
                404, f"No thread was found for message {message_id}", error_code="thread_not_found"
            )
        if held.continued:
            raise ApiError(
                400, f"Message {message_id} has already been continued", error_code="thread_already_continued"
            )
        self._threads.move_to_end(message_id)
        return held
