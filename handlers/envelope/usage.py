"""What the keys have used: the ledger's sums and latest rows, for a key its own, for `gateway:admin` all."""

from datetime import date
from zoneinfo import ZoneInfo

from gateway import rfc3339
from gateway.call import Call
from gateway.errors import BadRequest
from gateway.ledger import Column, recent_calls, usage_report
from gateway.responses import Response, answer


async def get_usage(call: Call, group_by: list[Column]) -> Response:
    """Usage and cost by key, model and day."""
    services, key = call.services, call.key
    assert key is not None
    zone = services.settings.budget_timezone
    report = await usage_report(
        services.store,
        services.keys.name,
        first=_day(call, "from", zone),
        last=_day(call, "to", zone),
        group_by=group_by,
        key_id=None if key.admin else key.id,
    )
    return answer(call, {**report, "timezone": zone.key})


async def list_calls(call: Call, limit: int) -> Response:
    """The latest calls, those under way among them."""
    services, key = call.services, call.key
    assert key is not None
    only = None if key.admin else key.id
    calls = await recent_calls(services.store, services.keys.name, limit=limit, key_id=only)
    return answer(call, {"calls": calls})


def _day(call: Call, name: str, zone: ZoneInfo) -> date | None:
    """The day that a parameter names, a date or a time."""
    text: str | None = call.parameters.get(name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text) if len(text) == 10 else rfc3339.parse(text).astimezone(zone).date()
    except (ValueError, OverflowError):
        raise BadRequest(f"query parameter {name}: is no date or time (RFC 3339)") from None
