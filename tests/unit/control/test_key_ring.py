from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tallystick.config.secret_keys import parse_secret_keys, text_of_key
from tallystick.control.key_ring import FILE_NAME, given_key_ring, kept_key_ring, load_key_ring, new_secret_key
from tallystick.errors import ConfigError

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def test_the_first_key_of_a_given_ring_seals() -> None:
    keys = [new_secret_key(NOW), new_secret_key(NOW)]
    ring = given_key_ring(",".join(map(text_of_key, keys)))

    assert ring.first == keys[0]
    assert ring.key_ids == (keys[0].key_id, keys[1].key_id)
    assert ring.find(keys[1].key_id) == keys[1]
    assert ring.find("another") is None


def test_a_malformed_ring_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"^secret_keys: key 1: must be"):
        given_key_ring("nonsense")


def test_a_ring_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"

    made = kept_key_ring(home, now=NOW)

    assert stat.S_IMODE((home / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [FILE_NAME]
    assert kept_key_ring(home, now=NOW).first == made.first


def test_keys_may_be_added_to_the_file(tmp_path: Path) -> None:
    old = kept_key_ring(tmp_path, now=NOW).first
    new = new_secret_key(NOW)
    (tmp_path / FILE_NAME).write_text(f"{text_of_key(new)}\n{text_of_key(old)}\n")

    ring = kept_key_ring(tmp_path, now=NOW)

    assert (ring.first, ring.find(old.key_id)) == (new, old)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    kept_key_ring(tmp_path, now=NOW)
    (tmp_path / FILE_NAME).chmod(mode)

    with pytest.raises(ConfigError, match="chmod 600"):
        kept_key_ring(tmp_path, now=NOW)


def test_a_damaged_file_is_not_replaced(tmp_path: Path) -> None:
    kept_key_ring(tmp_path, now=NOW)
    (tmp_path / FILE_NAME).write_text("")

    with pytest.raises(ConfigError, match=f"{FILE_NAME}: there is no key in it"):
        kept_key_ring(tmp_path, now=NOW)

    assert (tmp_path / FILE_NAME).read_text() == ""


def test_a_home_that_can_not_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="can't be kept in"):
        kept_key_ring(tmp_path / "file", now=NOW)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from tallystick.control.key_ring import kept_key_ring\n"
        "sys.stdin.readline()\n"
        "print(kept_key_ring(Path(sys.argv[1]), now=datetime.now(UTC)).first.key_id)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    seen = {racer.communicate()[0].strip() for racer in racers}

    assert seen == {parse_secret_keys((tmp_path / FILE_NAME).read_text())[0].key_id}
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_what_is_given_goes_before_what_is_kept(tmp_path: Path) -> None:
    kept_key_ring(tmp_path, now=NOW)
    given = new_secret_key(NOW)

    for may_keep in (True, False):
        ring = load_key_ring(text_of_key(given), home=tmp_path, may_keep=may_keep, now=NOW)
        assert ring.key_ids == (given.key_id,)


def test_where_none_may_be_kept_one_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^secret_keys: .*`tallystick secrets new-key`.*TALLYSTICK_SECRET_KEYS"):
        load_key_ring(None, home=tmp_path, may_keep=False, now=NOW)

    assert list(tmp_path.iterdir()) == []
    assert load_key_ring(None, home=tmp_path, may_keep=True, now=NOW).first
