"""What schemathesis is told in Python, beyond schemathesis.toml."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

SHARE = int(os.environ.get("FUZZ_SHARE", "1"))
"""Of the boundary cases of a message, one in so many is sent."""

MESSAGES = ["create_message", "stream_message", "count_tokens", "messages_create", "messages_count_tokens"]
BATCHES = ["create_batch", "messages_batches_create"]
MODEL = "claude-sonnet-4-5"

_numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)


@schemathesis.hook("filter_case").apply_to(operation_id=MESSAGES + BATCHES)
def thin_out(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """The schema of a message has some 20,000 boundary cases: send a share, spread over all of them."""
    if case.meta is None or case.meta.phase.name is not TestPhase.COVERAGE:
        return True
    return next(_numbers[case.operation.label]) % SHARE == 0


@schemathesis.hook("map_case").apply_to(operation_id=MESSAGES + BATCHES)
def go_further(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """A made-up model or an empty conversation would end a good request before the rest is looked at."""
    if not _wrong_at(case, ParameterLocation.BODY) and isinstance(case.body, dict):
        requests = case.body.get("requests")
        items = [item["params"] for item in requests] if requests else [case.body]
        for message in items:
            _complete(message)
    return case


@schemathesis.hook("map_case").apply_to(operation_id="stream_message")
def start_a_stream(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """A request that names a Last-Event-ID is answered with 204: let that be one in twenty."""
    if not _wrong_at(case, ParameterLocation.HEADER) and next(_numbers["Last-Event-ID"]) % 20:
        case.headers.pop("Last-Event-ID", None)
    return case


def _complete(message: dict[str, Any]) -> None:
    message["model"] = MODEL
    if not message.get("messages"):
        message["messages"] = [{"role": "user", "content": "Hello"}]


def _wrong_at(case: schemathesis.Case, location: ParameterLocation) -> bool:
    return case.meta is not None and case.meta.is_negative_at(location)
