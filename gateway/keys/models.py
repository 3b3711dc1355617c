"""Hold the models that a request names against those that its key may use."""

import re
from collections.abc import Iterable
from typing import Any

from gateway.errors import PermissionDenied
from gateway.keys.key import Key
from gateway.resources import models_named_in

_SPEAKABLE = re.compile(r"[!-~]{1,128}")


def check_models(key: Key, body: Any) -> None:
    """Refuse a body that names a model which the key may not use.

    Args:
        key: who calls.
        body: the parsed body of a request to any operation.

    Raises:
        PermissionDenied: the message names the model.
    """
    if key.pattern is not None:
        check_names(key, models_named_in(body))


def check_names(key: Key, models: Iterable[str]) -> None:
    """The same for the models of a body that was read elsewhere."""
    if key.pattern is None:
        return
    for model in dict.fromkeys(models):
        if not key.allows(model):
            shown = model if _SPEAKABLE.fullmatch(model) else "asked for"
            raise PermissionDenied(f"key {key.name} may not use the model {shown}")
