"""Where a body can name a model, and where the word is only content."""

from typing import Any

import pytest

from gateway.errors import PermissionDenied
from gateway.keys import KeyRing, check_models
from gateway.store import Store

ADMIN = "an-admin-secret-of-at-least-32-chars"


async def sonnets(store: Store) -> Any:
    key, _ = await KeyRing(store, ADMIN).create({"name": "a", "models": ["sonnet-*"]})
    return key


@pytest.mark.parametrize(
    "body",
    [
        {"model": "opus-4"},
        {"model": "Sonnet-4"},
        {"model": ""},
        {"model": {"id": "opus-4"}},
        {"model": "sonnet-4", "fallbacks": "default"},
        {"model": "sonnet-4", "fallbacks": [{"model": "sonnet-5"}, {"model": "opus-4"}]},
        {"model": "sonnet-4", "tools": [{"type": "advisor_20260301", "model": "opus-4"}]},
        {"multiagent": {"advisor": {"type": "enabled", "model": "opus-4"}}},
        {"multiagent": {"agents": ["agent_1", {"type": "advisor", "model": "opus-4"}]}},
        {"agent": {"type": "agent_with_overrides", "model": {"id": "opus-4"}}},
        {"requests": [{"params": {"model": "sonnet-4"}}, {"params": {"model": "opus-4"}}]},
        {"requests": [{"params": {"model": "sonnet-4", "fallbacks": [{"model": "opus-4"}]}}]},
    ],
)
async def test_every_place_is_looked_at(store: Store, body: dict[str, Any]) -> None:
    with pytest.raises(PermissionDenied, match="key a may not use the model"):
        check_models(await sonnets(store), body)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "opus-4",
        {},
        {"model": "sonnet-4", "fallbacks": None},
        {"model": None},
        {"model": ["opus-4"]},
        {"model": "sonnet-4", "messages": [{"role": "user", "content": [{"input": {"model": "opus-4"}}]}]},
        {"model": "sonnet-4", "metadata": {"model": "opus-4"}},
        {"model": "sonnet-4", "tools": [{"name": "t", "input_schema": {"default": {"model": "opus-4"}}}]},
    ],
)
async def test_the_rest_passes(store: Store, body: Any) -> None:
    check_models(await sonnets(store), body)


async def test_a_key_for_all_models_may_name_any(store: Store) -> None:
    key, _ = await KeyRing(store, ADMIN).create({"name": "a"})

    check_models(key, {"model": "opus-4", "fallbacks": "default"})


@pytest.mark.parametrize("model", ["opus\n4", "ключ", "o" * 129])
async def test_a_name_that_may_be_content_is_not_repeated(store: Store, model: str) -> None:
    with pytest.raises(PermissionDenied, match="the model asked for") as refused:
        check_models(await sonnets(store), {"model": model})

    assert model not in refused.value.message
