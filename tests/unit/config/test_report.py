"""The report of `config check`, the addresses it shows, and the reference page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.config.database_url import masked_url, normalize_url
from tallystick.config.reference import render_reference
from tallystick.config.report import ModelGroupRow, config_report

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def report_on(tmp_path, text, environ=None):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return config_report(config_file=file, overrides={}, environ=environ or {})


def test_a_good_file(tmp_path):
    text = """
        model_list:
          - {model_name: a, litellm_params: {model: openai/x}}
          - {model_name: a, litellm_params: {model: azure/y}}
          - {model_name: b, litellm_params: {model: groq/z}}
        general_settings: {alerting_threshold: 300}
        """
    report = report_on(tmp_path, text, {"DATABASE_URL": "postgresql://me:hunter2@db/x"})
    assert report.is_good
    assert report.model_groups == (
        ModelGroupRow(model_group="a", deployments=2, upstream_models=("openai/x", "azure/y")),
        ModelGroupRow(model_group="b", deployments=1, upstream_models=("groq/z",)),
    )
    assert report.summary["deployments"] == "3"
    assert report.summary["database"] == "postgresql (postgresql://me:***@db/x)"
    assert len(report.warnings) == 1


def test_a_bad_file(tmp_path):
    report = report_on(tmp_path, "general_settings: {port: x, workers: 0}")
    assert not report.is_good
    assert [problem.key_path for problem in report.errors] == ["general_settings.port", "general_settings.workers"]
    assert (report.summary, report.model_groups) == ({}, ())


def test_an_unreadable_file(tmp_path):
    report = config_report(config_file=tmp_path / "absent", overrides={}, environ={})
    assert [problem.file for problem in report.errors] == [str(tmp_path / "absent")]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a:b%40c@h:1/d?x=1&sslpassword=y", "postgresql://a:***@h:1/d?x=1&sslpassword=%2A%2A%2A"),
        ("postgres://a@h/d", "postgres://a@h/d"),
        ("postgres:///d?password=b", "postgres:///d?password=%2A%2A%2A"),
        ("sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    assert masked_url(url) == shown


@pytest.mark.parametrize("url", ["", "mysql://x", "sqlite://x", "sqlite:/x", "postgresql:x", "postgresql://h:no/x"])
def test_a_wrong_address_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match=r".") as caught:
        normalize_url(url)
    assert not url or url not in str(caught.value)


def test_the_reference_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render_reference(), "make it: python -m tallystick.config.reference"
