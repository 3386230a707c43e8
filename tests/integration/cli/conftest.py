"""`tallystick` on a database of the test's own: SQLite, PostgreSQL, or none that answers."""

from __future__ import annotations

import pytest
import structlog

from integration.cli.kit import CommandLine
from services import free_port
from tallystick.config.load import SETTINGS


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Keep each command's logging to itself: it would otherwise write to a stream that is gone in the next test."""

    def configure(*_: str) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

    monkeypatch.setattr("tallystick.cli.output.configure_logging", configure)
    yield
    structlog.reset_defaults()


@pytest.fixture
def environment(tmp_path, monkeypatch):
    for entry in SETTINGS:
        for place in entry.environment_places:
            monkeypatch.delenv(place.name, raising=False)
    monkeypatch.delenv("CONFIG_FILE_PATH", raising=False)
    return {"TALLYSTICK_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}


@pytest.fixture
def sqlite(environment, tmp_path):
    """A command line on an SQLite file that does not exist yet."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    return CommandLine(environment={**environment, "DATABASE_URL": url}, database_url=url)


@pytest.fixture
def postgres_cli(environment, postgres_url):
    """A command line on a migrated PostgreSQL database."""
    return CommandLine(environment={**environment, "DATABASE_URL": postgres_url}, database_url=postgres_url)


@pytest.fixture
def empty_postgres(environment, empty_postgres_url):
    """A command line on a PostgreSQL database without any table."""
    return CommandLine(environment={**environment, "DATABASE_URL": empty_postgres_url}, database_url=empty_postgres_url)


@pytest.fixture(params=["sqlite", "postgres"])
def cli(request):
    """A command line on an empty, migrated ledger, once for each engine."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_cli")
    line = request.getfixturevalue("sqlite")
    assert line("migrate").code == 0
    return line


@pytest.fixture
def away(environment):
    """A command line on a PostgreSQL that nobody has started."""
    url = f"postgresql://teller:hush-hush@127.0.0.1:{free_port()}/ledger"
    return CommandLine(environment={**environment, "DATABASE_URL": url}, database_url=url)
