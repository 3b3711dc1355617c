"""Fixtures that every folder may use: a gateway on the embedded sandbox, and one on an upstream by script."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support import gateway as gateways
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.recorder import Recorder


@dataclass(frozen=True)
class Relay:
    """A gateway and the upstream that it relays to."""

    gateway: Gateway
    upstream: Recorder
    kitchen: Client
    """The same gateway with a key that has the scope `messages` alone."""


@pytest.fixture(scope="session")
def sandboxed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A gateway with the embedded sandbox; answers that break the contract fail."""
    if (elsewhere := gateways.elsewhere()) is not None:
        yield elsewhere
        return
    settings = {"UPSTREAM": "sandbox", "RESPONSE_VALIDATION": "enforce"}
    with gateways.running(tmp_path_factory.mktemp("sandboxed"), settings) as gateway:
        yield gateway


RELAY_TIMEOUT = 4.0
"""Seconds: short for the tests that wait for it, long for those whose upstream a busy machine holds up."""
RELAY_SETTINGS = {
    "ANTHROPIC_API_KEY": gateways.UPSTREAM_KEY,
    "ANTHROPIC_ADMIN_KEY": gateways.UPSTREAM_ADMIN_KEY,
    "ANTHROPIC_TIMEOUT": str(RELAY_TIMEOUT),
    "LOG_LEVEL": "DEBUG",
    "ANTHROPIC_LOG": "debug",
}


@pytest.fixture(scope="session")
def _relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("relay")
    kitchen = gateways.make_key(folder / "data", "kitchen", ["messages"])
    with Recorder() as upstream:
        settings = RELAY_SETTINGS | {"ANTHROPIC_BASE_URL": upstream.url}
        with gateways.running(folder, settings, gateways.UNASKED) as gateway:
            yield Relay(gateway, upstream, Client(gateway.url, kitchen))


@pytest.fixture
def relay(_relay: Relay) -> Relay:
    """A gateway in front of an upstream that answers by script. It logs all that it ever logs."""
    _relay.upstream.reset()
    return _relay


@pytest.fixture
def upstream(relay: Relay) -> Recorder:
    return relay.upstream


@pytest.fixture
def gateway(relay: Relay) -> Gateway:
    return relay.gateway
