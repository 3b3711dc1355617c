"""Models: the list and its pages."""

from typing import get_args

import anthropic
import pytest
from anthropic.types import Model

SEED = {
    "claude-sonnet-4-20250514",
    "claude-3-7-sonnet-20250219",
    "claude-3-5-sonnet-latest",
    "claude-3-opus-latest",
    "claude-3-opus-20240229",
}


def test_has_the_models_of_the_sdk_and_of_older_programs(client: anthropic.Anthropic) -> None:
    known = {model for union in get_args(Model) for model in get_args(union)}
    assert len(known) > 20
    assert {model.id for model in client.models.list(limit=1000)} == known | SEED


def test_pages_forth_and_back(client: anthropic.Anthropic) -> None:
    ids = [model.id for model in client.models.list(limit=1000)]
    assert [model.id for model in client.models.list(limit=4)] == ids
    page = client.models.list(limit=4, before_id=ids[10])
    assert [model.id for model in page.data] == ids[6:10]
    assert page.has_more is True
    assert (page.first_id, page.last_id) == (ids[6], ids[9])
    assert client.models.list(limit=4, before_id=ids[2]).has_more is False


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1001}, {"after_id": "none"}, {"before_id": "none"}]
)
def test_bad_page(client: anthropic.Anthropic, query: dict[str, str]) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(extra_query=query)


def test_retrieve(client: anthropic.Anthropic) -> None:
    model = client.models.retrieve("claude-opus-4-5")
    assert model.id == "claude-opus-4-5-20251101"
    assert model.lifecycle == "active"
    assert model.capabilities is not None
    assert model.capabilities.batch.supported
    with pytest.raises(anthropic.NotFoundError, match="model: none"):
        client.models.retrieve("none")


def test_lifecycle_filter(client: anthropic.Anthropic) -> None:
    deprecated = {model.id for model in client.models.list(lifecycle=["deprecated"])}
    assert deprecated > SEED
    assert not deprecated & {model.id for model in client.models.list(lifecycle=["active"])}
