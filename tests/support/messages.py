"""A message as Anthropic answers it, with the usage that a test is about."""

import json

from tests.support.recorder import Headers, Step, answer

MODEL = "claude-sonnet-4-20250514"


def message(
    output_tokens: int = 5, input_tokens: int = 10, *, wait: float = 0.0, headers: Headers = (), **usage: int
) -> list[Step]:
    """The steps of the answer, `wait` seconds later; further counts of the usage go by their names."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens, **usage},
    }
    return [wait, *answer(body=json.dumps(body).encode(), headers=headers)]
