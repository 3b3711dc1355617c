"""The gateway that one writes first: Connexion as it comes and the SDK's `messages.create`.

It has no ledger, limits or budgets. It checks both ways (`validate_responses=True`), as the gateway does.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import connexion
from anthropic import AsyncAnthropic
from starlette.responses import StreamingResponse

client = AsyncAnthropic()  # key and base URL come from the environment


async def create_message(body: dict[str, Any]) -> Any:
    """Answer POST /v1/messages with the message, or with its events where the caller asked for a stream."""
    if body.get("stream"):
        return StreamingResponse(_events(body), media_type="text/event-stream")
    message = await client.messages.create(**body)
    return message.to_dict(), 200, {"Content-Type": "application/json"}


async def _events(body: dict[str, Any]) -> AsyncIterator[str]:
    async for event in await client.messages.create(**body):
        yield f"event: {event.type}\ndata: {event.to_json(indent=None)}\n\n"


def check_key(apikey: str) -> dict[str, str]:
    """Accept any key."""
    return {"sub": apikey}


def health() -> dict[str, str]:
    """Answer the bench's wait for readiness."""
    return {"status": "healthy"}


app = connexion.AsyncApp(__name__, specification_dir=Path(__file__).parent)
app.add_api("connexion_plain.yaml", validate_responses=True)
