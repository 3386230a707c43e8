"""Forms: only what is meant changes, and what could be read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import BadRequest
from tallystick.wire.form import read_form, texts_of, with_model

TYPE = "multipart/form-data; boundary=cut"
HEAD = b'--cut\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
values = st.binary(max_size=60) | st.sampled_from(
    (b"\r\n--cu", b"\r\n--cutter\r\n", b"a--cut--", b"\r\n", b"a--cut\r\n")
)
parts = st.lists(st.tuples(st.sampled_from((b"file", b"image[]", b"tags", b"model")), values), max_size=6)


def form_of(*given_parts: tuple[bytes, bytes], names_file: bytes = b"") -> bytes:
    return b"".join(HEAD % (name, names_file, value) for name, value in given_parts) + b"--cut--\r\n"


@given(parts, st.text(max_size=20))
def test_only_the_model_changes_and_only_own_parts_go(given_parts: list[tuple[bytes, bytes]], model: str) -> None:
    raw = form_of(*given_parts)
    changed = with_model(read_form(raw, TYPE), raw, model=model, without={"tags"})
    expected = [(name, model.encode() if name == b"model" else value) for name, value in given_parts if name != b"tags"]
    if not any(name == b"model" for name, _ in given_parts):
        expected.insert(0, (b"model", model.encode()))
    assert changed == form_of(*expected)


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda some: form_of((b"model", b"a"))[:-9] + some))
def test_any_bytes_are_a_form_or_a_bad_request(raw: bytes) -> None:
    try:
        form = read_form(raw, TYPE)
    except BadRequest:
        return
    assert all(part.from_ < part.start <= part.end <= len(raw) for part in form.parts)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no form",
        b"--cut\r\n\r\n\r\n--cut--",
        form_of((b"a", b"b"))[:-6],
        b'--cut\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\nb\r\n--cut--',
        b"--cut\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\n\r\n--cut--",
        form_of(*[(b"a[]", b"")] * 257),
        form_of((b"file", b"--cut--"), (b"model", b"dear")),
        form_of((b"file", b'--cut\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap')),
    ],
)
def test_what_is_no_form_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        read_form(raw, TYPE)


def test_a_part_that_stands_twice_is_refused() -> None:
    raw = form_of((b"model", b"cheap"), (b"model", b"dear"))
    with pytest.raises(BadRequest, match="'model' stands twice"):
        texts_of(read_form(raw, TYPE), raw)


def test_a_name_inside_a_files_name_is_none() -> None:
    raw = b'--cut\r\nContent-Disposition: form-data; filename="a; name=\\"model\\""; name="file"\r\n\r\nb\r\n--cut--'
    part = read_form(raw, TYPE).parts[0]
    assert (part.name, part.is_file, raw[part.start : part.end]) == ("file", True, b"b")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "application/json; boundary=cut", ""])
def test_a_form_needs_its_type_and_boundary(content_type: str) -> None:
    with pytest.raises(BadRequest):
        read_form(form_of((b"a", b"b")), content_type)
