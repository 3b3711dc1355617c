"""The register of idempotency keys, on both databases, and by what requests are told apart."""

import asyncio
import hashlib
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from gateway.content import Content, ContentGone
from gateway.content.blobs import PIECE
from gateway.errors import BadRequest, ServiceUnavailable
from gateway.idempotency import (
    Claim,
    Earlier,
    FormFingerprint,
    IdempotencyKeys,
    fingerprint,
    idempotency_key,
)
from gateway.idempotency.register import LIFETIME
from gateway.store.tables import idempotency_keys, instances
from middleware.idempotency import _Idempotency
from tests.support.clock import Clock

HEADERS = [(b"content-type", b"application/json"), (b"request-id", b"req_\xff")]
SEEN = hashlib.sha256(b"a request").digest()


@pytest.fixture
def clock():
    return Clock(time.time())


@pytest.fixture
def register_of(store, tmp_path, clock):
    """Makes the register of one process, which is alive."""
    content = Content(store, tmp_path / "results", clock)

    def make(number=1):
        row = instances.insert().values(id=number, token=f"{number}", expires_at=2**50)
        store.write_now(lambda session: session.connection.execute(row))
        return IdempotencyKeys(store, content, number, clock)

    return make


def dies(store, number):
    row = instances.delete().where(instances.c.id == number)
    store.write_now(lambda session: session.connection.execute(row))


async def answered(register, claim, body=b"answer"):
    writer = register.writer(claim)
    await writer.write(body)
    await register.finish(claim, 200, HEADERS, writer, SEEN)


async def count(store):
    return await store.read(lambda c: c.execute(select(func.count()).select_from(idempotency_keys)).scalar())


async def test_of_many_at_once_one_may_run(store, register_of):
    registers = [register_of(1), register_of(2)]
    found = await asyncio.gather(
        *(registers[number % 2].claim("key_a", b"k", "op", SEEN) for number in range(200))
    )
    assert sum(isinstance(one, Claim) for one in found) == 1
    assert {one.status for one in found if isinstance(one, Earlier)} == {None}
    assert await count(store) == 1


async def test_what_was_answered_is_found_again(register_of, clock):
    register = register_of()
    await answered(register, await register.claim("key_a", b"k", "op", SEEN))
    found = await register.claim("key_a", b"k", "op", SEEN)
    assert (found.status, found.headers, found.fingerprint) == (200, HEADERS, SEEN)
    assert await register._content.read(found.content_id) == b"answer"
    assert isinstance(await register.claim("key_b", b"k", "op", SEEN), Claim)
    assert isinstance(await register.claim("key_a", b"K", "op", SEEN), Claim)


async def test_of_several_at_once_each_learns_of_its_own(register_of):
    register, values = register_of(), [b"%d" % number for number in range(8)]
    for value in values[::2]:
        await answered(register, await register.claim("key_a", value, "op", SEEN), body=value)
    found = await asyncio.gather(*(register.claim("key_a", value, "op", SEEN) for value in values))
    bodies = [await register._content.read(one.content_id) for one in found[::2]]
    assert bodies == values[::2]
    assert all(isinstance(one, Claim) for one in found[1::2])


async def test_it_is_forgotten_at_its_end(store, register_of, clock):
    register = register_of()
    await answered(register, await register.claim("key_a", b"k", "op", SEEN))
    await answered(register, await register.claim("key_a", b"l", "op", SEEN))
    clock.now += LIFETIME
    assert isinstance(await register.claim("key_a", b"k", "op", SEEN), Claim)
    assert await register.expire() == 1
    assert await count(store) == 1


async def test_a_released_key_is_free_and_a_finished_one_is_not(register_of):
    register = register_of()
    claim = await register.claim("key_a", b"k", "op", SEEN)
    await register.release(claim)
    again = await register.claim("key_a", b"k", "op", SEEN)
    assert isinstance(again, Claim)
    await register.release(claim)  # the old claim has no say any more
    assert isinstance(await register.claim("key_a", b"k", "op", SEEN), Earlier)


async def test_who_leaves_while_claiming_leaves_nothing(store, register_of):
    register = register_of()
    claiming = asyncio.ensure_future(register.claim("key_a", b"k", "op", SEEN))
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await store.flush()
    assert await count(store) == 0


async def test_the_claim_of_a_dead_process_is_taken_by_one(store, register_of):
    dead, alive, other = register_of(1), register_of(2), register_of(3)
    lost = await dead.claim("key_a", b"k", "op", SEEN)
    await answered(dead, await dead.claim("key_a", b"done", "op", SEEN))
    assert isinstance(await alive.claim("key_a", b"k", "op", SEEN), Earlier)
    dies(store, 1)
    found = await asyncio.gather(
        *(register.claim("key_a", b"k", "op", SEEN) for register in (alive, other, alive, other))
    )
    assert sum(isinstance(one, Claim) for one in found) == 1
    await answered(dead, lost)  # it was not so dead after all: too late
    assert (await alive.claim("key_a", b"k", "op", SEEN)).status is None
    assert (await alive.claim("key_a", b"done", "op", SEEN)).status == 200


async def test_an_answer_is_kept_although_the_caller_leaves_meanwhile(register_of):
    register = register_of()
    claim = await register.claim("key_a", b"k", "op", SEEN)
    finishing = asyncio.ensure_future(answered(register, claim))
    await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    await register.close()
    assert (await register.claim("key_a", b"k", "op", SEEN)).status == 200


async def test_an_answer_that_cannot_be_kept_frees_its_key_and_leaves_nothing(register_of, monkeypatch):
    register, discarded = register_of(), []
    claim = await register.claim("key_a", b"k", "op", SEEN)
    writer = register.writer(claim)

    async def commit():
        raise OSError("the disk is full")

    async def discard():
        discarded.append(writer)

    monkeypatch.setattr(writer, "commit", commit)
    monkeypatch.setattr(writer, "discard", discard)
    await register.finish(claim, 200, HEADERS, writer, SEEN)
    assert discarded == [writer]
    assert isinstance(await register.claim("key_a", b"k", "op", SEEN), Claim)


async def test_a_key_is_freed_a_little_later_when_the_database_does_not_answer(
    store, register_of, monkeypatch
):
    register = register_of()
    claim = await register.claim("key_a", b"k", "op", SEEN)

    async def batch(*_):
        raise ServiceUnavailable("the database is away")

    with monkeypatch.context() as away:
        away.setattr(store, "batch", batch)
        await register.release(claim)
    await store.flush()
    assert await count(store) == 0


async def test_all_that_is_past_its_end_goes_however_many(store, register_of, clock, monkeypatch):
    monkeypatch.setattr("gateway.idempotency.register.DELETED_AT_ONCE", 2)
    register = register_of()
    for number in range(4):
        await register.claim("key_a", b"%d" % number, "op", SEEN)
    clock.now += LIFETIME
    assert await register.expire() == 4
    assert await count(store) == 0


async def test_keys_of_two_callers_are_two_however_they_are_cut(register_of):
    register = register_of()
    assert isinstance(await register.claim("key_a", b"ab", "op", SEEN), Claim)
    assert isinstance(await register.claim("key_aa", b"b", "op", SEEN), Claim)


async def test_deletion_by_its_key(register_of):
    register = register_of()
    other = await register._content.put("key_a", "async_message", b"another's", lifetime=LIFETIME)
    await answered(register, await register.claim("key_a", b"k", "op", SEEN))
    await answered(register, await register.claim("key_b", b"k", "op", SEEN))
    running = await register.claim("key_a", b"running", "op", SEEN)
    assert len(await register._content.kept_for("key_a")) == 2
    await register.forget("key_a")
    assert [kind for kind, *_ in await register._content.kept_for("key_a")] == [other.kind]
    assert isinstance(await register.claim("key_a", b"k", "op", SEEN), Claim)
    assert (await register.claim("key_b", b"k", "op", SEEN)).status == 200
    assert isinstance(await register.claim("key_a", b"running", "op", SEEN), Earlier)
    await register.release(running)


async def test_an_answer_that_is_deleted_while_it_is_sent_breaks_off(register_of):
    """It has begun: to run the request instead would pay for it again, and could not be told any more."""
    register, sent = register_of(), []
    head = {b"idempotency-key": b"k"}
    call = SimpleNamespace(
        key=SimpleNamespace(id="key_a"), headers=list(head.items()), header=head.get, uploading=False,
        method="POST", target="/v1/messages", body=b"{}", status=0,
        services=SimpleNamespace(content=register._content),
    )  # fmt: skip
    seen = fingerprint(call.method, call.target, call.body)
    claim = await register.claim("key_a", b"k", "create_message", seen)
    async with register.writer(claim) as writer:
        await writer.write(bytes(3 * PIECE))
        await register.finish(claim, 200, HEADERS, writer, seen)

    async def runs(*_):
        raise AssertionError("it runs again")

    async def send(message):
        sent.append(message)
        call.status = 200
        if "body" in message:
            await register.forget("key_a")

    operation = SimpleNamespace(id="create_message", stream=None, metered=True)
    with pytest.raises(ContentGone):
        await _Idempotency(runs, operation, register)({"call": call}, None, send)
    assert [message.get("more_body") for message in sent] == [None, True]


@pytest.mark.parametrize("value", [b"k", b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', b"x" * 255])
def test_a_key(value):
    assert idempotency_key([(b"accept", b"*/*"), (b"idempotency-key", value)]) == value


@pytest.mark.parametrize("values", [[b""], [b" "], [b"a b"], [b"x" * 256], [b"\xe4"], [b"\t"], [b"a", b"a"]])
def test_no_key(values):
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        idempotency_key([(b"idempotency-key", value) for value in values])


def test_none_was_chosen():
    assert idempotency_key([]) is None
    assert idempotency_key([(b"idempotency-key", b"stainless-node-retry-1")]) is None


def test_requests_are_told_apart():
    requests = [
        ("POST", "/v1/messages", b"{}"),
        ("POST", "/v1/messages?beta=true", b"{}"),
        ("POST", "/v1/messages", b"{ }"),
        ("POST", "/v1/messages{", b"}"),
    ]
    assert len({fingerprint(*request) for request in requests}) == len(requests)


def form(*parts, boundary=b"b"):
    lines = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, data) for head, data in parts)
    return lines + b"--%b--\r\n" % boundary


FILE = (
    b'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: text/plain',
    b"data\r\n--",
)
FIELD = (b'Content-Disposition: form-data; name="purpose"', b"x")


def digest(body, boundary=b"b", step=None):
    read = FormFingerprint("POST", "/v1/files", b"multipart/form-data; boundary=" + boundary)
    for start in range(0, len(body), step or len(body)):
        read.feed(body[start : start + (step or len(body))])
    return read.digest()


def test_forms_are_known_by_their_parts():
    known = digest(form(FILE, FIELD))
    assert known is not None
    assert digest(form(FILE, FIELD, boundary=b"other"), b"other") == known
    assert digest(form((FILE[0].replace(b"Content-Type", b"content-type"), FILE[1]), FIELD)) == known
    others = [
        form(FILE),
        form(FIELD, FILE),
        form(FILE, (FIELD[0], b"y")),
        form((FILE[0].replace(b'"a"', b'"b"'), FILE[1]), FIELD),
        form((FILE[0].replace(b"plain", b"html"), FILE[1]), FIELD),
    ]
    assert len({digest(body) for body in others} | {known}) == len(others) + 1


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_forms_are_known_however_they_are_cut(step):
    assert digest(form(FILE, FIELD), step=step) == digest(form(FILE, FIELD))


@pytest.mark.parametrize("body", [form(FILE)[:-6], b"no form at all"])
def test_what_is_no_whole_form_is_not_known(body):
    assert digest(body) is None
    assert FormFingerprint("POST", "/v1/files", b"multipart/form-data").digest() is None
