"""Lists sifted to one key's own: no page has a gap or a double, whatever else stands in between."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadGateway
from gateway.own_lists import own_list
from gateway.upstream import WholeAnswer

DEFAULT = 20


class Upstream:
    """A list of items, the latest first, in pages of either way; `limit` is at most `largest`."""

    def __init__(self, items: list[str], largest: int = 1000, *, heeds_limit: bool = True) -> None:
        self.items = items
        self.largest = largest
        self.heeds_limit = heeds_limit
        self.targets: list[str] = []

    async def __call__(self, target: str) -> WholeAnswer:
        self.targets.append(target)
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        limit = int(query.get("limit", DEFAULT)) if self.heeds_limit else DEFAULT
        if not 1 <= limit <= self.largest:
            return WholeAnswer(400, [], b"limit")
        if urlsplit(target).path == "/tokens":
            return self._by_token(query.get("page"), limit)
        return self._by_id(query, limit)

    def _by_token(self, token: str | None, limit: int) -> WholeAnswer:
        start = 0 if token is None else self.items.index(token.removeprefix("page_")) + 1
        page = self.items[start : start + limit]
        more = start + limit < len(self.items)
        return _answer(page, {"next_page": f"page_{page[-1]}" if more else None, "prev_page": "page_x"})

    def _by_id(self, query: dict[str, str], limit: int) -> WholeAnswer:
        if "before_id" in query:
            end = self.items.index(query["before_id"])
            start = max(0, end - limit)
            more = start > 0
        else:
            start = self.items.index(query["after_id"]) + 1 if "after_id" in query else 0
            end = start + limit
            more = end < len(self.items)
        page = self.items[start:end]
        return _answer(page, {"has_more": more, "first_id": "first", "last_id": "last"})


def _answer(page: list[str], cursors: dict[str, object]) -> WholeAnswer:
    items = ", ".join(f'{{ "id":"{name}","n" : 1.10}}' for name in page)
    head = "".join(f'"{name}":{json.dumps(value)}, ' for name, value in cursors.items())
    body = f' {{{head}"data" : [{items}],"novel":[1]}}\n'.encode()
    return WholeAnswer(200, [(b"content-length", b"%d" % len(body)), (b"request-id", b"req_1")], body)


async def sift(items):
    return [item["id"].startswith("own") for item in items]


async def ask(upstream, target, *, largest=1000):
    answer = await own_list(target, upstream, sift, by_ids=target.startswith("/ids"), largest=largest)
    assert answer.status == 200
    body = await answer.read()
    assert dict(answer.headers) == {b"content-length": b"%d" % len(body), b"request-id": b"req_1"}
    for item in json.loads(body)["data"]:
        assert f'{{ "id":"{item["id"]}","n" : 1.10}}'.encode() in body
    return json.loads(body)


def ids(page):
    return [item["id"] for item in page["data"]]


def mixed(places):
    return [f"{'own' if own else 'foreign'}_{number}" for number, own in enumerate(places)]


PLACES = st.one_of(
    st.lists(st.booleans(), max_size=150),
    st.lists(st.sampled_from([True, *[False] * 15]), max_size=150),
)
LIMITS = st.sampled_from([1, 2, 7, 20, 50])


@settings(deadline=None)
@given(places=PLACES, limit=LIMITS, largest=st.sampled_from([50, 1000]))
async def test_pages_by_tokens_are_the_list(places, limit, largest):
    upstream = Upstream(mixed(places), largest)
    own = [name for name in upstream.items if name.startswith("own")]
    found, token, pages = [], "", 0
    while True:
        page = await ask(upstream, f"/tokens?limit={limit}{token}", largest=largest)
        found += ids(page)
        pages += 1
        assert page["prev_page"] is None
        if page["next_page"] is None:
            break
        assert len(ids(page)) == limit  # only the last page is short
        assert page["next_page"] == f"page_{ids(page)[-1]}"  # no token tells of another's item
        token = f"&page={page['next_page']}"
    assert found == own
    assert pages <= len(own) // limit + 1


@settings(deadline=None)
@given(places=PLACES, limit=LIMITS, largest=st.sampled_from([50, 1000]))
async def test_pages_by_ids_are_the_list_in_both_directions(places, limit, largest):
    upstream = Upstream(mixed(places), largest)
    own = [name for name in upstream.items if name.startswith("own")]
    found, cursor = [], ""
    while True:
        page = await ask(upstream, f"/ids?limit={limit}{cursor}", largest=largest)
        found += ids(page)
        assert page["first_id"] == (ids(page) or [None])[0]
        assert page["last_id"] == (ids(page) or [None])[-1]
        if not page["has_more"]:
            break
        assert len(ids(page)) == limit
        cursor = f"&after_id={page['last_id']}"
    assert found == own
    if not own:
        return
    found, cursor = [own[-1]], own[-1]
    while True:
        page = await ask(upstream, f"/ids?before_id={cursor}&limit={limit}", largest=largest)
        found = ids(page) + found
        if not page["has_more"]:
            break
        cursor = page["first_id"]
    assert found == own


@pytest.mark.parametrize("path", ["/tokens", "/ids"])
async def test_what_is_deleted_meanwhile_makes_neither_a_gap_nor_a_double(path):
    items = mixed([number % 3 == 0 for number in range(300)])
    upstream = Upstream(list(items))
    first = await ask(upstream, f"{path}?limit=20")
    for number in (1, 2, 4, 31, 90, 150):  # some before the cursor, some after it, others' and own
        upstream.items.remove(items[number])
    upstream.items[:0] = ["own_new", "foreign_new"]
    cursor = f"page={first['next_page']}" if path == "/tokens" else f"after_id={first['last_id']}"
    rest = await ask(upstream, f"{path}?limit=1000&{cursor}")
    left = [name for name in items if name.startswith("own") and name not in ("own_90", "own_150")]
    assert ids(first) + ids(rest) == left


async def test_a_deletion_between_looking_and_cutting():
    upstream = Upstream(mixed([False] * 5 + [True] * 30))

    async def racing(target: str) -> WholeAnswer:
        if len(upstream.targets) == 1:  # the cut is about to be asked for
            del upstream.items[0]
        return await upstream(target)

    answer = await own_list("/tokens?limit=3", racing, sift, by_ids=False)
    page = json.loads(await answer.read())
    assert ids(page) == ["own_5", "own_6", "own_7"]
    assert page["next_page"] == "page_own_7"


async def test_who_has_the_workspace_alone_costs_one_call_a_page():
    for path in ("/tokens", "/ids"):
        upstream = Upstream(mixed([True] * 300))
        await ask(upstream, f"{path}?limit=20")
        await ask(upstream, path)
        assert len(upstream.targets) == 2


async def test_few_of_many_cost_few_calls():
    upstream = Upstream(mixed([number == 3_999 for number in range(4_000)]))
    assert ids(await ask(upstream, "/tokens?limit=20")) == ["own_3999"]
    assert len(upstream.targets) <= 8


@pytest.mark.parametrize("limit", ["0", "1001", "x", "%2B5", "99999999999"])
async def test_a_wrong_limit_is_refused_by_upstream(limit):
    async def refuse(target: str) -> WholeAnswer:
        assert target == f"/tokens?limit={limit}&x[]=%20"
        return WholeAnswer(400, [], b"no")

    answer = await own_list(f"/tokens?limit={limit}&x[]=%20", refuse, sift, by_ids=False)
    assert (answer.status, await answer.read()) == (400, b"no")


async def test_filters_are_passed_on_as_they_were_written():
    upstream = Upstream(mixed([number % 2 for number in range(100)]))
    await ask(upstream, "/tokens?statuses[]=a%20b&limit=10&novel=%2F+x")
    assert upstream.targets[0] == "/tokens?statuses[]=a%20b&limit=10&novel=%2F+x"
    assert all(target.startswith("/tokens?statuses[]=a%20b&novel=%2F+x&") for target in upstream.targets[1:])


@pytest.mark.parametrize("path", ["/tokens", "/ids"])
async def test_an_upstream_that_goes_round_in_circles_ends(path):
    async def circle(_: str) -> WholeAnswer:
        return _answer(["own_1", "foreign_1"], {"next_page": "page_again", "has_more": True})

    answer = await own_list(f"{path}?limit=20", circle, sift, by_ids=path == "/ids")
    page = json.loads(await answer.read())
    assert page["next_page" if path == "/tokens" else "has_more"] in (None, False)


async def test_an_upstream_that_heeds_no_limit_loses_nothing():
    upstream = Upstream(mixed([True] * 30), heeds_limit=False)
    first = await ask(upstream, "/tokens?limit=5")
    rest = await ask(upstream, f"/tokens?limit=5&page={first['next_page']}")
    assert ids(first) + ids(rest) == upstream.items


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"data":{}}', b'{"data":["own_1"]}', b"<html>"])
async def test_what_is_no_list_is_not_passed_on(body):
    async def odd(_: str) -> WholeAnswer:
        return WholeAnswer(200, [], body)

    with pytest.raises(BadGateway, match="no list"):
        await own_list("/tokens", odd, sift, by_ids=False)


async def test_an_odd_text_among_the_items_hides_none_of_them():
    async def odd(_: str) -> WholeAnswer:
        return WholeAnswer(
            200, [], b'{"data":[{"id":"own_1","n":"\\ud800"},{"id":"foreign"}],"next_page":null}'
        )

    answer = await own_list("/tokens", odd, sift, by_ids=False)
    assert await answer.read() == b'{"data":[{"id":"own_1","n":"\\ud800"}],"next_page":null}'
