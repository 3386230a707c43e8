"""The rules find what they are for, and let pass what is right."""

from __future__ import annotations

import pytest

from architecture import rules
from architecture.sources import source

NOQA = "# no" + "qa"
IGNORE = "# type: " + "ignore"

BROKEN = [
    (rules.file_is_short, "a.py", "x = 1\n" * 601),
    (rules.functions_are_short, "a.py", "def f():\n" + "    x = 1\n" * 70),
    (rules.functions_are_short, "a.py", "async def f():\n" + "    x = 1\n" * 70),
    (rules.has_docstring, "a.py", "x = 1\n"),
    (rules.no_global_statement, "a.py", "def f():\n    global x\n    x = 1\n"),
    (rules.imports_at_the_top, "ledger/a.py", "def f():\n    import os\n"),
    (rules.imports_at_the_top, "ledger/a.py", "class A:\n    async def f(self):\n        from os import path\n"),
    (rules.sql_in_stores, "ledger/a.py", "x = 'SELECT a FROM b'"),
    (rules.sql_in_stores, "ledger/a.py", "x = 'select a from b'"),
    (rules.sql_in_stores, "ledger/a.py", "x = '''\n    INSERT INTO b (c) VALUES (1)'''"),
    (rules.sql_in_stores, "ledger/a.py", "x = 'UPDATE b SET c = 1'"),
    (rules.sql_in_stores, "ledger/a.py", "x = f'DELETE FROM {b}'"),
    (rules.sql_in_stores, "ledger/a.py", "x = 'PRAGMA journal_mode = wal'"),
    (rules.names_say_something, "ledger/utils.py", ""),
    (rules.names_say_something, "common/a.py", ""),
    (rules.names_say_something, "ledger/a.py", "class KeyManager: ..."),
    (rules.names_say_something, "ledger/a.py", "def handle_v2(): ..."),
    (rules.environment_in_config, "ledger/a.py", "import os\nx = os.environ['A']"),
    (rules.environment_in_config, "ledger/a.py", "import os\nx = os.getenv('A')"),
    (rules.environment_in_config, "ledger/a.py", "from os import environ"),
    (rules.time_from_the_clock, "ledger/a.py", "x = datetime.now(UTC)"),
    (rules.time_from_the_clock, "ledger/a.py", "x = datetime.datetime.now()"),
    (rules.time_from_the_clock, "ledger/a.py", "f(default_factory=time.time)"),
    (rules.print_in_cli, "ledger/a.py", "print(1)"),
    (rules.switches_have_codes, "a.py", f"x = 1  {NOQA}"),
    (rules.switches_have_codes, "a.py", f"x = 1  {IGNORE}"),
    (rules.switches_have_reasons, "a.py", f"x = 1  {NOQA}: S101"),
    (rules.switches_have_reasons, "a.py", f"x = 1  {IGNORE}[misc]"),
    (rules.any_has_a_reason, "a.py", "x: Any = 1"),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept Exception:\n    x = 1\n"),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept:\n    x = 1\n"),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept (OSError, BaseException):\n    x = 1\n"),
    (rules.broad_handlers_tell, "a.py", "with suppress(Exception):\n    f()\n"),
    (rules.sqlite_by_apsw, "stores/a.py", "import sqlite3"),
]

KEPT = [
    (rules.file_is_short, "a.py", "x = 1\n" * 600),
    (rules.functions_are_short, "a.py", "def f():\n" + "    x = 1\n" * 69),
    (rules.imports_at_the_top, "bootstrap/stores.py", "def f():\n    import os\n"),
    (rules.imports_at_the_top, "a.py", "if TYPE_CHECKING:\n    import os\n"),
    (rules.sql_in_stores, "stores/a.py", "x = 'SELECT a FROM b'"),
    (rules.sql_in_stores, "a.py", "x = 'Select a model from the list.'"),
    (rules.sql_in_stores, "a.py", "x = 'updates are shown'"),
    (rules.names_say_something, "ledger/committer.py", "def commonly(): ..."),
    (rules.environment_in_config, "config/a.py", "import os\nx = os.environ['A']"),
    (rules.time_from_the_clock, "runtime/clock.py", "x = datetime.now(UTC)"),
    (rules.time_from_the_clock, "a.py", "x = clock.now()"),
    (rules.print_in_cli, "cli.py", "print(1)"),
    (rules.print_in_cli, "cli/a.py", "print(1)"),
    (rules.switches_have_codes, "a.py", f"x = 1  {NOQA}: S101"),
    (rules.switches_have_reasons, "a.py", f"x = 1  {NOQA}: S101, S311 - jitter, not a secret"),
    (rules.switches_have_reasons, "a.py", f"x = 1  {IGNORE}[misc]  # The stub is wrong."),
    (rules.any_has_a_reason, "a.py", "x: Any = 1  # Any: JSON."),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept Exception:\n    log.exception('failed')\n"),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept Exception as e:\n    raise A from e\n"),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept Exception:\n    errors.labels(kind='a').inc()\n"),
    (
        rules.broad_handlers_tell,
        "a.py",
        "def tell(e):\n    log.error('a')\ntry:\n    f()\nexcept Exception as e:\n    tell(e)\n",
    ),
    (rules.broad_handlers_tell, "a.py", "try:\n    f()\nexcept OSError:\n    x = 1\n"),
]


@pytest.mark.parametrize(("rule", "place", "text"), BROKEN)
def test_finds(rule: rules.Rule, place: str, text: str) -> None:
    assert len(list(rule(source(place, text)))) == 1


@pytest.mark.parametrize(("rule", "place", "text"), KEPT)
def test_lets_pass(rule: rules.Rule, place: str, text: str) -> None:
    assert list(rule(source(place, text))) == []


def test_every_rule_is_tried() -> None:
    assert set(rules.PACKAGE_RULES) | set(rules.OTHER_RULES) == {rule for rule, _, _ in BROKEN}
