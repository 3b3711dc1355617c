"""Fixtures of the unit tests: databases, with every test on a fresh one."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from gateway.store import Store
from gateway.store.writer import Operation, Session
from tests import servers

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gateway.db"
    url = make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    name = f"test_{next(_NUMBERS)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = Store(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def lose_acknowledgement(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the next commit be made and look as if it had failed: the answer to COMMIT did not come."""

    def lose() -> None:
        together = store.writer._together

        def lost(session: Session, group: list[Operation], *, here: bool) -> list[object]:
            monkeypatch.setattr(store.writer, "_together", together)
            together(session, group, here=here)
            raise ConnectionError("the answer to COMMIT is lost")

        monkeypatch.setattr(store.writer, "_together", lost)

    return lose
