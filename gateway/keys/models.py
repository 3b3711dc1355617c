"""Hold the models that a request names against those that its key may use."""

import re
from collections.abc import Iterator
from typing import Any

from gateway.errors import PermissionDenied
from gateway.keys.key import Key

HOLDERS = ("advisor", "agent", "agents", "fallbacks", "multiagent", "params", "requests", "tools")
"""Members that hold, or list, objects with a `model` of their own (SDK 2.12): a batch's requests, fallbacks,
an advisor, an agent with overrides."""

_SPEAKABLE = re.compile(r"[!-~]{1,128}")


def check_models(key: Key, body: Any) -> None:
    """Refuse a body that names a model which the key may not use.

    Args:
        key: who calls.
        body: the parsed body of a request to any operation.

    Raises:
        PermissionDenied: the message names the model.
    """
    if key.pattern is None:
        return
    for model in dict.fromkeys(_models(body)):
        if not key.allows(model):
            shown = model if _SPEAKABLE.fullmatch(model) else "asked for"
            raise PermissionDenied(f"key {key.name} may not use the model {shown}")


def _models(value: Any) -> Iterator[str]:
    """Every model that a body names; what messages and schemas hold is content and not looked at."""
    if isinstance(value, list):
        for item in value:
            yield from _models(item)
    elif isinstance(value, dict):
        model = value.get("model")
        if isinstance(model, dict):
            model = model.get("id")
        if isinstance(model, str):
            yield model
        if value.get("fallbacks") == "default":
            yield "default"  # a choice left to Anthropic: only a key that may use all models leaves it
        for name in HOLDERS:
            if name in value:
                yield from _models(value[name])
