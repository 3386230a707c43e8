from __future__ import annotations

import base64
import os
import re

import pytest

from tallystick.config.secret_keys import SecretKey, parse_secret_keys, text_of_key

KEY = SecretKey(key_id="k1", key=bytes(range(32)))
OTHER = SecretKey(key_id="k2", key=bytes(range(32, 64)))
ENCODED = text_of_key(KEY).partition(":")[2]


@pytest.mark.parametrize("separator", [",", ", ", "\n", " \n,"])
def test_keys_keep_their_order(separator: str) -> None:
    assert parse_secret_keys(f"{text_of_key(KEY)}{separator}{text_of_key(OTHER)}\n") == (KEY, OTHER)


def test_both_alphabets_of_base64_are_read() -> None:
    key = bytes([0xFB, 0xFF, 0xBF] * 3) + os.urandom(23)

    for encoded in (base64.b64encode(key), base64.urlsafe_b64encode(key), base64.urlsafe_b64encode(key).rstrip(b"=")):
        assert parse_secret_keys(f"k1:{encoded.decode()}") == (SecretKey(key_id="k1", key=key),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no key"),
        (" , ", "there is no key"),
        (ENCODED, "key 1: must be <id>:<key>"),
        (f":{ENCODED}", "key 1: its id must be"),
        (f"K1:{ENCODED}", "key 1: its id must be"),
        (f"{'k' * 33}:{ENCODED}", "key 1: its id must be"),
        (f"{ENCODED}:k1", "key 1: its id must be"),
        ("k1:", "has 0 bytes, not 32"),
        (f"k1:{ENCODED[:-4]}", "has 29 bytes, not 32"),
        (f"k1:{ENCODED}AAAA", "has 35 bytes, not 32"),
        (f"k1:{ENCODED[:-2]}", "is not base64"),
        (f"k1:{ENCODED[:20]}!{ENCODED[21:]}", "is not base64"),
        (f"k1:{ENCODED[:20]}é{ENCODED[21:]}", "is not base64"),
        (f"k1:{base64.b64encode(b'secret!!' * 4).decode()}", "repeats a few bytes"),
        (f"k1:{ENCODED},k1:{ENCODED}", "key 2: the id 'k1' is the id of a key before it"),
        (",".join(f"k{n}:{ENCODED}" for n in range(65)), "64 is the most"),
    ],
)
def test_malformed_keys_are_refused_and_not_shown(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        parse_secret_keys(text)

    assert ENCODED[:12] not in str(caught.value)
    assert "secret!!" not in str(caught.value)


def test_a_key_does_not_show_itself() -> None:
    assert ENCODED not in f"{KEY} {KEY!r}"
    assert repr(KEY.key) not in f"{KEY} {KEY!r}"
