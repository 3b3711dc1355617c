"""POST /v1/messages and POST /v1/messages/count_tokens."""

from typing import Any

from sandbox import auth, rules
from sandbox.answers import Answer, Answers
from sandbox.contract import Contract
from sandbox.errors import invalid
from sandbox.files import Files
from sandbox.http import Request, Response, ok
from sandbox.ids import Ids
from sandbox.limits import RateLimits
from sandbox.models import Models
from sandbox.prompt_cache import InputUsage, PromptCache
from sandbox.prompts import Body, segments, walk
from sandbox.scenarios import Scenarios
from sandbox.stream import events
from sandbox.threads import Threads

_SSE = b"text/event-stream; charset=utf-8"


class Messages:
    """Answers messages, one at a time or for a batch."""

    def __init__(
        self,
        *,
        contract: Contract,
        models: Models,
        scenarios: Scenarios,
        answers: Answers,
        files: Files,
        limits: RateLimits,
        ids: Ids,
    ) -> None:
        self._check_create = contract.body("messages_create")
        self._check_count = contract.body("messages_count_tokens")
        self._models = models
        self._scenarios = scenarios
        self._answers = answers
        self._files = files
        self._limits = limits
        self._ids = ids
        self._cache = PromptCache()
        self._threads = Threads()

    async def create(self, request: Request) -> Response:
        """POST /v1/messages: JSON, or a stream when `stream` is true."""
        body = await request.json()
        self._check_create(body)
        scenario = self._scenarios.of_model(body["model"])
        body = self._threads.resume(body, request.headers.get(b"anthropic-beta", b"").decode("latin-1"))
        message = self.answer(body, version=_version(request), ending=scenario.ending)
        self._threads.hold(body, message, request.size)
        streamed = body.get("stream")
        response = Response(events(message), content_type=_SSE) if streamed else ok(message)
        return await scenario.play(request, response)

    async def count_tokens(self, request: Request) -> Response:
        """POST /v1/messages/count_tokens."""
        body = await request.json()
        self._check_count(body)
        self._scenarios.of_model(body["model"])
        model = self._models.find(body["model"])
        prompt = segments(body)
        rules.check(rules.Case(body, model, _version(request), prompt), counting=True)
        self._find_files(body)
        return ok({"input_tokens": sum(segment.tokens for segment in prompt)})

    def answer_in_batch(self, params: Body, *, version: str) -> dict[str, Any]:
        """The message to one request of a batch, which is checked only now, as Anthropic does.

        Raises `ApiError` as a call would be refused.
        """
        self._check_create(params)
        if params.get("stream"):
            raise invalid("stream: not permitted in a batch")
        scenario = self._scenarios.of_model(params["model"])
        return self.answer(params, version=version, ending=scenario.ending, service_tier="batch")

    def answer(
        self, body: Body, *, version: str, ending: str | None = None, service_tier: str = "standard"
    ) -> dict[str, Any]:
        """The message to a request that fits the schema; `ApiError` where Anthropic would refuse it."""
        model = self._models.find(body["model"])
        prompt = segments(body)
        rules.check(rules.Case(body, model, version, prompt))
        self._find_files(body)
        answer = self._answers.compose(body, ending)
        read = self._cache.use(model.answers_as, prompt)
        self._limits.count(input_tokens=read.total - read.read, output_tokens=answer.output_tokens)
        return {
            "id": self._ids.new("msg"),
            "type": "message",
            "role": "assistant",
            "model": body["model"] if model.answers_as == "sandbox" else model.answers_as,
            "content": answer.content,
            "stop_reason": answer.stop_reason,
            "stop_sequence": answer.stop_sequence,
            "stop_details": answer.stop_details,
            "container": answer.container,
            "usage": _usage(body, read, answer, service_tier),
        }

    def _find_files(self, body: Body) -> None:
        """Raises `ApiError` 404 for a file that the messages name and nobody uploaded."""
        for message in body["messages"]:
            for block in walk(message.get("content")):
                source = block.get("source")
                file_id = block.get("file_id") or (
                    source.get("file_id") if isinstance(source, dict) else None
                )
                if isinstance(file_id, str):
                    self._files.find(file_id)


def _usage(body: Body, read: InputUsage, answer: Answer, service_tier: str) -> dict[str, Any]:
    return {
        "input_tokens": read.uncached,
        "cache_creation_input_tokens": read.written_5m + read.written_1h,
        "cache_read_input_tokens": read.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": read.written_5m,
            "ephemeral_1h_input_tokens": read.written_1h,
        },
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"thinking_tokens": answer.thinking_tokens},
        "server_tool_use": answer.server_tool_use,
        "service_tier": service_tier,
        "inference_geo": body.get("inference_geo") or "global",
        "speed": body.get("speed"),
    }


def _version(request: Request) -> str:
    return request.headers[auth.VERSION_HEADER].decode("latin-1")
