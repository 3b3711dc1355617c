"""The models: a fixed list of ids, with capabilities of the sandbox's own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import pages
from sandbox.errors import invalid, not_found
from sandbox.http import Request, Response, ok
from sandbox.scenarios import MODEL_PREFIX

_UNKNOWN_DATE = "1970-01-01"
"""What Anthropic too writes where it does not know a release date."""
_LIFECYCLES = ("active", "deprecated", "retired")


@dataclass(frozen=True, slots=True)
class Model:
    """What decides how a model answers, and what `GET /v1/models` says of it."""

    id: str
    answers_as: str
    max_tokens: int
    prefill: bool
    thinking: bool
    info: dict[str, Any]


class Models:
    """The catalogue."""

    def __init__(self) -> None:
        entries = json.loads(Path(__file__).with_name("models.json").read_text("utf-8"))
        self._models = {entry["id"]: _model(entry) for entry in entries}
        self._scenario = _model(
            {"id": "sandbox", "display_name": "Sandbox scenario", "line": None, "prefill": True}
        )

    def find(self, model_id: str) -> Model:
        """The model that answers to an id, scenarios (`sandbox-…`) included; 404 when there is none."""
        model = self._models.get(model_id)
        if model is None:
            if not model_id.startswith(MODEL_PREFIX):
                raise not_found(f"model: {model_id}")
            model = self._scenario
        return model

    async def list_all(self, request: Request) -> Response:
        """GET /v1/models."""
        wanted = request.queries("lifecycle[]") or request.queries("lifecycle") or ["active", "deprecated"]
        for lifecycle in wanted:
            if lifecycle not in _LIFECYCLES:
                raise invalid("lifecycle: Input should be 'active', 'deprecated' or 'retired'")
        infos = [model.info for model in self._models.values() if model.info["lifecycle"] in wanted]
        return ok(pages.by_ids(request, infos))

    async def retrieve(self, request: Request) -> Response:
        """GET /v1/models/{model_id}: an alias answers as the model that it stands for."""
        (model_id,) = request.params
        model = self._models.get(model_id)
        if model is None:
            raise not_found(f"model: {model_id}")
        return ok(self._models[model.answers_as].info)


def _model(entry: dict[str, Any]) -> Model:
    thinking = entry.get("thinking", True)
    max_tokens = entry.get("max_tokens", 128_000)
    retires_at = entry.get("retires_at")
    lifecycle = entry.get("lifecycle", "deprecated" if retires_at else "active")
    info = {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["display_name"],
        "created_at": _midnight(entry.get("created_at", _UNKNOWN_DATE)),
        "lifecycle": lifecycle,
        "deprecated_at": None if lifecycle == "active" else _midnight(_UNKNOWN_DATE),
        "retires_at": retires_at and _midnight(retires_at),
        "line": entry["line"],
        "max_input_tokens": 200_000,
        "max_tokens": max_tokens,
        "capabilities": _capabilities(thinking=thinking),
    }
    return Model(
        entry["id"],
        entry.get("alias_of", entry["id"]),
        max_tokens,
        entry.get("prefill", False),
        thinking,
        info,
    )


def _midnight(date: str) -> str:
    return f"{date}T00:00:00Z"


def _capabilities(*, thinking: bool) -> dict[str, Any]:
    yes, if_thinking = {"supported": True}, {"supported": thinking}
    levels = ("low", "medium", "high", "xhigh", "max")
    types = ("adaptive", "between_tools", "disabled", "enabled")
    return {
        "batch": yes,
        "citations": yes,
        "code_execution": yes,
        "context_management": {"supported": False},
        "effort": {"supported": thinking, **dict.fromkeys(levels, if_thinking)},
        "image_input": yes,
        "pdf_input": yes,
        "server_tools": {"supported": True, "code_execution": yes, "web_search": yes},
        "structured_outputs": yes,
        "thinking": {"supported": thinking, "types": dict.fromkeys(types, if_thinking)},
    }
