"""Keys with limits and budgets, made as an operator makes them."""

from typing import Any

from tests.support.client import Client
from tests.support.gateway import Gateway

KEYS = "/api/v1/keys"


def new_key(gateway: Gateway, name: str, **fields: Any) -> tuple[str, Client]:
    """Make a key on a running gateway; gives its id and a client that uses it.

    Limits and budgets may stand beside the other fields: `concurrency=2`, `usd_per_day=1`.
    """
    body: dict[str, Any] = {"name": name, "limits": {}, "budget": {}}
    for field, value in fields.items():
        if field.startswith("usd_"):
            body["budget"][field] = value
        elif field == "concurrency" or field.endswith("_per_minute"):
            body["limits"][field] = value
        else:
            body[field] = value
    made = gateway.call("POST", KEYS, body)
    assert made.status == 201, made.body
    key = made.json()["data"]
    return key["id"], Client(gateway.url, key["key"])
