from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.providers.http_content import OversizedAnswer, inflate_body, inflater


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS = {"gzip": gzip.compress, "X-GZIP": gzip.compress, "deflate": zlib.compress, " Deflate ": raw_deflate}


@given(
    body=st.binary(max_size=3000),
    repeat=st.sampled_from([1, 1, 400]),
    name=st.sampled_from(sorted(PACKERS)),
    d=st.data(),
)
def test_any_split_gives_the_same(body: bytes, repeat: int, name: str, d: st.DataObject) -> None:
    packed = PACKERS[name](body * repeat)
    cut = d.draw(st.integers(0, len(packed)))
    undo = inflater(name)
    assert undo is not None
    steps = [step for part in (packed[:cut], packed[cut:]) for step in undo.steps(part)]
    undo.end()
    assert b"".join(steps) == body * repeat
    assert all(0 < len(step) <= 256 * 1024 for step in steps)


def test_nothing_to_undo() -> None:
    assert inflater("") is inflater("identity") is None


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, gzip", "secret"])
def test_an_unknown_compression(name: str) -> None:
    with pytest.raises(ValueError, match="unknown") as caught:
        inflater(name)
    assert "secret" not in str(caught.value)


async def test_members_follow_each_other_and_padding_is_skipped() -> None:
    packed = gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0"
    assert await inflate_body(packed, "gzip", bytes_max=10, is_error=False) == b"ab"


async def test_a_small_body_that_comes_out_large() -> None:
    packed = gzip.compress(b"x" * 5_000_000)
    with pytest.raises(OversizedAnswer, match="1000000"):
        await inflate_body(packed, "gzip", bytes_max=1_000_000, is_error=False)
    assert await inflate_body(packed, "gzip", bytes_max=1_000_000, is_error=True) == b"x" * 1_000_000


@pytest.mark.parametrize(
    "packed",
    [b"garbage", gzip.compress(b"x" * 100)[:-9], gzip.compress(b"x")[:-8] + b"12345678"],
    ids=["no gzip", "no end", "wrong checksum"],
)
async def test_damage(packed: bytes) -> None:
    with pytest.raises(ValueError, match="compression"):
        await inflate_body(packed, "gzip", bytes_max=1000, is_error=False)


async def test_an_error_may_be_cut() -> None:
    assert await inflate_body(gzip.compress(b"x" * 100)[:-9], "gzip", bytes_max=1000, is_error=True)
