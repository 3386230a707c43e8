"""Deployments that are called by a library: how they are written, and what stops them. No library is imported here."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from tallystick.providers import library_target
from tallystick.providers.base import InvalidTarget
from tallystick.providers.catalog import build_target
from tallystick.providers.library_target import LIBRARY_ACCESS, LibraryAccess


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both libraries, as far as one can tell without importing them."""
    monkeypatch.setattr(library_target, "find_spec", lambda _name: object())
    monkeypatch.setattr(library_target, "version", lambda _name: "1.110.2")


def access_of(model: str, **given: Any) -> LibraryAccess:
    access = build_target(model, **given).options[LIBRARY_ACCESS]
    assert isinstance(access, LibraryAccess)
    return access


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("library", ["any-llm", "litellm"])
def test_provider_and_model_are_those_behind_the_library(library: str) -> None:
    target = build_target(
        f"{library}/watsonx/ibm/granite",
        api_key=" k ",
        api_base="https://ada:secret@host/v1/",
        extra_headers={"X-A": "1"},
        params={"project_id": "p"},
    )
    assert (target.provider, target.model, target.served_by) == ("watsonx", "ibm/granite", library)
    assert target.api_base == "https://host/v1"  # It is shown.
    assert target.headers == {}
    assert target.options[LIBRARY_ACCESS] == LibraryAccess(
        api_key="k",
        api_base="https://ada:secret@host/v1",
        headers={"X-A": "1"},
        params={"project_id": "p"},
    )


@pytest.mark.usefixtures("installed")
def test_unknown_providers_go_to_the_library_of_the_setting_and_known_ones_do_not() -> None:
    target = build_target("watsonx/m", unknown_providers="litellm")
    assert (target.provider, target.model, target.library) == ("watsonx", "m", "litellm")
    assert build_target("groq/m", api_key="k", unknown_providers="litellm").library == ""
    with pytest.raises(InvalidTarget, match="not a provider"):
        build_target("watsonx/m")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("model", ["any-llm/m", "any-llm/", "any-llm//m", "litellm/../m", "litellm/a/"])
def test_a_name_without_provider_and_model(model: str) -> None:
    with pytest.raises(InvalidTarget, match="<provider>/<model>"):
        build_target(model)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["success_callback", "num_retries", "fallbacks", "client"])
def test_what_would_have_the_library_do_our_work(name: str) -> None:
    with pytest.raises(InvalidTarget, match="can't be given") as caught:
        build_target("litellm/a/m", params={name: 1})
    assert caught.value.field == name


@pytest.mark.parametrize("library", ["any-llm", "litellm"])
def test_without_the_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_target, "find_spec", lambda _name: None)
    with pytest.raises(InvalidTarget, match=rf"pip install 'tallystick\[{library}\]'"):
        build_target(f"{library}/a/m")


@pytest.mark.parametrize("release", ["1.82.7", "1.82.8"])
def test_the_releases_that_were_malware(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_target, "find_spec", lambda _name: object())
    monkeypatch.setattr(library_target, "version", lambda _name: release)
    with pytest.raises(InvalidTarget, match="malware"):
        build_target("litellm/a/m")


def test_an_installation_without_a_distribution_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(library_target, "find_spec", lambda _name: object())
    monkeypatch.setattr(library_target, "version", missing)
    assert access_of("litellm/a/m") == LibraryAccess()
