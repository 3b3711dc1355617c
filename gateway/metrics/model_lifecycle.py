"""When models retire, as Anthropic's answers about models tell it; noted when somebody asks for them.

Source: https://docs.anthropic.com/en/api/models-list
"""

from gateway import rfc3339
from gateway.metrics.instruments import Description, Labels, Values
from gateway.metrics.labels import OTHER, CappedLabels
from gateway.metrics.names import PREFIX
from gateway.responses import Response

RETIRES = Description(
    f"{PREFIX}model_retires_timestamp_seconds",
    "gauge",
    "When a model will be gone; known once somebody has asked for the models since the start.",
    ("model",),
    across="max",
)

MOST_MODELS = 100


class ModelLifecycle:
    """Keeps what was told last of each model that has a date."""

    def __init__(self) -> None:
        self._label = CappedLabels(MOST_MODELS)
        self._dates: dict[Labels, float] = {}

    def note(self, response: Response) -> Response:
        """Read an answer of models, and hand it on.

        Args:
            response: one model, or a page of them under `data`; of another form where upstream failed.
        """
        found = response.data
        page = found.get("data") if isinstance(found, dict) else None
        for model in page if isinstance(page, list) else [found]:
            match model:
                case {"type": "model", "id": str(name), "retires_at": str(date)}:
                    self._set(name, date)
                case {"type": "model", "id": str(name)}:
                    self._dates.pop((name,), None)
        return response

    def values(self) -> dict[str, Values]:
        """The dates, in seconds since 1970."""
        return {RETIRES.name: dict(self._dates)}

    def _set(self, name: str, date: str) -> None:
        label = self._label(name)
        if label == OTHER:
            return
        try:
            self._dates[label,] = rfc3339.parse(date).timestamp()
        except ValueError:
            self._dates.pop((label,), None)
