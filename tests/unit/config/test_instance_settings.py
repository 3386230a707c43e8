"""The buffer in Redis is refused where it could not work, with what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.config.load import load_settings
from tallystick.config.problems import InvalidConfig
from tallystick.config.settings import Settings

ON = "general_settings: {use_redis_transaction_buffer: true}\n"
POSTGRES = "postgresql://u@127.0.0.1/x"


def load(tmp_path: Path, text: str = ON, **environ: str) -> Settings:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return load_settings(config_file=file, overrides={}, environ=environ)


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert load(tmp_path, "").instances.uses_redis_buffer is False


@pytest.mark.parametrize("written", ["true", "'true'", "'True'"])
def test_it_is_on_with_redis_and_postgresql(tmp_path: Path, written: str) -> None:
    text = f"general_settings: {{use_redis_transaction_buffer: {written}}}\n"
    settings = load(tmp_path, text, REDIS_URL="redis://h", DATABASE_URL=POSTGRES)
    assert settings.instances.uses_redis_buffer is True
    assert settings.warnings == ()


def test_it_needs_redis(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(tmp_path, DATABASE_URL=POSTGRES)
    assert "general_settings.use_redis_transaction_buffer: needs Redis: set redis_url (REDIS_URL)" in str(caught.value)
    assert "c.yaml" in str(caught.value)


def test_it_needs_postgresql(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load(tmp_path, REDIS_URL="redis://h")
    assert "general_settings.use_redis_transaction_buffer: needs PostgreSQL" in str(caught.value)
