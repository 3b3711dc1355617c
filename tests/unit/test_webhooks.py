"""Webhook messages: signed, at least once, over restarts and replicas, never to where they must not go."""

import asyncio
import json
import re
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp.resolver import ThreadedResolver
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from gateway import webhook_sender, webhooks
from gateway.public_address import CheckedResolver, NotPublic, check_literal, is_public
from gateway.store import Session, Store
from gateway.webhooks import LEASE, PAUSES, Webhooks
from tests.support.recorder import CLOSE, Received, Recorder, answer

SECRET = "whsec_" + b64encode(b"a secret of thirty-two bytes ...").decode()
TOLD = {"id": "msgbatch_1", "request_counts": {"succeeded": 2}}


class Clock:
    """The real time, as far ahead as a test says."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def _receiver() -> Iterator[Recorder]:
    with Recorder() as receiver:
        yield receiver


@pytest.fixture
def receiver(_receiver: Recorder) -> Recorder:
    _receiver.reset()
    return _receiver


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hooks(store: Store, url: str, clock: Clock, *, private: bool = True) -> Webhooks:
    return Webhooks(store, SecretStr(url), SecretStr(SECRET), private=private, now=clock)


@pytest.fixture
async def sender(store: Store, receiver: Recorder, clock: Clock) -> AsyncIterator[Webhooks]:
    made = hooks(store, f"{receiver.url}/hook?token=t", clock)
    yield made
    await made.close()


async def add(store: Store, sender: Webhooks) -> None:
    await store.write(sender.add, "batch.ended", TOLD)


def verified(request: Received) -> dict[str, object]:
    """What a receiver with the public library gets."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    value: dict[str, object] = Webhook(SECRET).verify(
        request.body, {name: str(request.header(name)) for name in names}
    )
    return value


async def test_a_message_as_the_receiver_verifies_it(
    store: Store, sender: Webhooks, receiver: Recorder, clock: Clock
) -> None:
    await add(store, sender)
    assert await sender.deliver() == 1

    sent = receiver.only
    event = verified(sent)
    assert (sent.method, sent.target) == ("POST", "/hook?token=t")
    assert sent.header("content-type") == "application/json"
    assert (event["type"], event["data"]) == ("batch.ended", TOLD)
    assert str(event["timestamp"]).endswith("Z")
    clock.ahead += LEASE + 1
    assert await sender.deliver() == 0, "once is enough"
    assert sender.outcomes == {"delivered": 1}


async def test_a_forged_message_is_told(store: Store, sender: Webhooks, receiver: Recorder) -> None:
    await add(store, sender)
    await sender.deliver()

    receiver.only.body = receiver.only.body.replace(b"msgbatch_1", b"msgbatch_2")
    with pytest.raises(WebhookVerificationError):
        verified(receiver.only)


@pytest.mark.parametrize(
    "failure", [answer(500), answer(404), answer(301), [CLOSE], [b"junk\r\n\r\n", CLOSE]]
)
async def test_what_did_not_arrive_is_tried_again(
    store: Store, sender: Webhooks, receiver: Recorder, clock: Clock, failure: list[bytes]
) -> None:
    """A redirect is a failure: where it leads, nobody has judged."""
    receiver.script(failure, failure)
    await add(store, sender)
    for pause in PAUSES[:2]:
        assert await sender.deliver() == 1
        assert await sender.deliver() == 0, "not before its time"
        clock.ahead += pause * 1.2
    assert await sender.deliver() == 1

    first, second, third = receiver.requests
    assert first.header("webhook-id") == second.header("webhook-id") == third.header("webhook-id")
    assert first.body == second.body == third.body
    assert sender.outcomes == {"failed": 2, "delivered": 1}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(
    store: Store, sender: Webhooks, receiver: Recorder, status: int
) -> None:
    receiver.script(answer(status, headers=[("location", f"{receiver.url}/elsewhere")]))
    await add(store, sender)
    assert await sender.deliver() == 1

    assert receiver.only.target == "/hook?token=t"
    assert sender.outcomes == {"failed": 1}


async def test_a_receiver_that_says_nothing_is_left_before_another_process_may_try(
    store: Store, sender: Webhooks, receiver: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert webhook_sender.PATIENCE < LEASE / 2
    monkeypatch.setattr(webhook_sender, "PATIENCE", 0.2)
    receiver.script([1.0, *answer()])
    await add(store, sender)

    assert await asyncio.wait_for(sender.deliver(), 10) == 1
    assert sender.outcomes == {"failed": 1}


async def test_at_last_it_is_given_up(
    store: Store, sender: Webhooks, receiver: Recorder, clock: Clock
) -> None:
    receiver.reply = lambda _: answer(503)
    await add(store, sender)
    attempts = 0
    while await sender.deliver():
        attempts += 1
        clock.ahead += 100_000

    assert attempts == len(PAUSES) + 1 == len(receiver.requests)
    assert sender.outcomes == {"failed": len(PAUSES), "given_up": 1}


async def test_a_receiver_that_is_gone_is_left_alone(
    store: Store, sender: Webhooks, receiver: Recorder, clock: Clock
) -> None:
    receiver.script(answer(410))
    await add(store, sender)
    assert await sender.deliver() == 1
    clock.ahead += 100_000

    assert await sender.deliver() == 0


async def test_messages_outlive_the_process(store: Store, receiver: Recorder, clock: Clock) -> None:
    first, second = (hooks(store, receiver.url, clock) for _ in range(2))
    await add(store, first)
    await first.close()

    assert await second.deliver() == 1
    assert verified(receiver.only)["data"] == TOLD
    await second.close()


async def test_what_a_dead_process_had_taken_is_taken_again(
    store: Store, sender: Webhooks, receiver: Recorder, clock: Clock
) -> None:
    await add(store, sender)
    taken = await store.write(webhooks._claim, int(clock() * 1000))
    assert len(taken) == 1
    assert await sender.deliver() == 0

    clock.ahead += LEASE + 1
    assert await sender.deliver() == 1
    assert verified(receiver.only)["data"] == TOLD


async def test_replicas_do_not_send_the_same(store: Store, receiver: Recorder, clock: Clock) -> None:
    replicas = [hooks(store, receiver.url, clock) for _ in range(4)]
    for _ in range(20):
        await add(store, replicas[0])
    while sum(await asyncio.gather(*(replica.deliver() for replica in replicas))):
        continue
    for replica in replicas:
        await replica.close()

    assert len({request.header("webhook-id") for request in receiver.requests}) == 20
    assert len(receiver.requests) == 20


async def test_what_another_replica_is_just_taking_is_not_sent_twice(
    database_url: str, receiver: Recorder, clock: Clock
) -> None:
    stores = [Store(database_url), Store(database_url)]
    first, second = (hooks(one, receiver.url, clock) for one in stores)
    await add(stores[0], first)
    taking = threading.Event()

    def claim_slowly(session: Session) -> int:
        taken = webhooks._claim(session, int(clock() * 1000))
        taking.set()
        time.sleep(0.3)  # the other one asks meanwhile, and waits for the row
        return len(taken)

    slow = stores[0].write(claim_slowly)
    await asyncio.to_thread(taking.wait)
    assert await second.deliver() == 0
    assert await slow == 1
    for one in (*(first, second), *stores):
        await one.close()


async def test_the_worker_sends_what_it_is_woken_for(
    store: Store, sender: Webhooks, receiver: Recorder
) -> None:
    await sender.start()
    await asyncio.sleep(0.05)
    await add(store, sender)
    sender.wake()

    assert verified(await asyncio.to_thread(receiver.wait_for))["data"] == TOLD


async def test_the_worker_outlives_a_failure_and_rests_when_all_is_told(
    store: Store, sender: Webhooks, receiver: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks, failed = webhooks._claim, [], asyncio.Event()
    loop = asyncio.get_running_loop()

    def claim(session: Session, now: int) -> list[webhooks.Message]:
        looks.append(now)
        if len(looks) < 3:  # the store itself tries once more what has failed
            loop.call_soon_threadsafe(failed.set)
            raise RuntimeError("a disk that is full")
        return real(session, now)

    monkeypatch.setattr(webhooks, "_claim", claim)
    await sender.start()
    await failed.wait()
    await add(store, sender)
    sender.wake()
    await asyncio.to_thread(receiver.wait_for)
    await asyncio.sleep(0.2)

    assert sender.outcomes == {"delivered": 1}
    assert len(looks) <= 5, "two that failed, one that found it, one that found nothing"


async def test_without_a_webhook_nothing_waits(store: Store, clock: Clock) -> None:
    nobody = Webhooks(store, now=clock)
    await add(store, nobody)
    await nobody.start()

    assert not nobody.enabled
    assert await nobody.deliver() == 0
    await nobody.close()


async def test_what_waits_for_nobody_is_struck_out(store: Store, sender: Webhooks, clock: Clock) -> None:
    await add(store, sender)
    assert await sender.expire() == 0
    clock.ahead += sum(PAUSES) * 1.1
    assert await sender.expire() == 0, "its last attempt is still to come"
    clock.ahead += webhooks.FORGET + 1

    assert await sender.expire() == 1


# Where messages may go.

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:192.168.1.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("addresses", "trusted"), [(["1.1.1.1"], True), (["1.1.1.1", "10.0.0.1"], False), (["::1"], False)]
)
async def test_each_address_of_a_name_is_judged(
    addresses: list[str], trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(*_: object) -> list[dict[str, str]]:
        return [{"host": address} for address in addresses]

    monkeypatch.setattr(ThreadedResolver, "resolve", look_up)
    resolver = CheckedResolver()
    if trusted:
        assert await resolver.resolve("hooks.example") == [{"host": "1.1.1.1"}]
    else:
        with pytest.raises(NotPublic):
            await resolver.resolve("hooks.example")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8/", "https://[::1]/x", "http://[::ffff:10.0.0.1]:80/"])
def test_a_private_address_in_the_url(url: str) -> None:
    with pytest.raises(NotPublic):
        check_literal(url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
async def test_nothing_goes_to_an_address_that_is_not_public(
    store: Store, receiver: Recorder, clock: Clock, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    """Named or spelled out, also in the ways in which only the system's resolver reads an address."""
    refusing = hooks(store, f"http://{host}:{receiver.port}/hook?token=hidden", clock, private=False)
    await add(store, refusing)
    assert await refusing.deliver() == 1
    await refusing.close()

    assert receiver.requests == []
    assert receiver.connections == 0
    assert refusing.outcomes == {"failed": 1}
    (warning,) = [record for record in caplog.records if record.name == "gateway.webhooks"]
    assert re.search("not public|InvalidUrl", warning.__dict__["reason"])
    assert "hidden" not in str(warning.__dict__)


async def test_the_body_holds_no_content(store: Store, sender: Webhooks, receiver: Recorder) -> None:
    await add(store, sender)
    await sender.deliver()

    assert json.loads(receiver.only.body).keys() == {"type", "timestamp", "data"}
