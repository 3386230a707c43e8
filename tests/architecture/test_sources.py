"""Every file of the project keeps the rules of the house."""

from __future__ import annotations

import pytest

from architecture.rules import OTHER_RULES, PACKAGE_RULES, Rule
from architecture.sources import Source, other_sources, package_sources

# Places that break a rule for a good reason: {(rule, place): reason}. An entry that is no longer needed fails too.
EXCEPTIONS: dict[tuple[str, str], str] = {}


@pytest.mark.parametrize("rule", PACKAGE_RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_rule(rule: Rule) -> None:
    assert package_sources()
    assert complaints(rule, package_sources()) == []


@pytest.mark.parametrize("rule", OTHER_RULES, ids=lambda rule: rule.__name__)
def test_tests_and_benchmarks_keep_rule(rule: Rule) -> None:
    assert complaints(rule, other_sources()) == []


def test_exceptions_are_still_needed() -> None:
    rules = {rule.__name__: rule for rule in PACKAGE_RULES}
    files = {file.place: file for file in package_sources()}

    assert [
        (name, place) for name, place in EXCEPTIONS if place not in files or not list(rules[name](files[place]))
    ] == []


def complaints(rule: Rule, files: tuple[Source, ...]) -> list[str]:
    """Return what `rule` finds in all files but those with an exception."""
    return [complaint for file in files if (rule.__name__, file.place) not in EXCEPTIONS for complaint in rule(file)]
