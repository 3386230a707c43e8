"""Forms (`multipart/form-data`): where their parts lie, so that one is replaced and all others stay as they came."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final

import msgspec

from tallystick.errors import BadRequest

_PARTS_MAX: Final = 256
_HEAD_BYTES_MAX: Final = 16 * 1024
_TEXT_BYTES_MAX: Final = 1024 * 1024
_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_DISPOSITION: Final = re.compile(
    rb"^content-disposition:[ \t]*form-data[ \t]*((?:;.*)?)$", re.IGNORECASE | re.MULTILINE
)
_PARAMETER: Final = re.compile(rb';[ \t]*([^\s=;"]+)=("(?:[^"\\]|\\.)*"|[^\s;"]*)[ \t]*')
_LINE_END: Final = re.compile(rb"[ \t]*\r\n")


class Part(msgspec.Struct, frozen=True):
    """One part: `raw[start:end]` is its value; its delimiter begins at `from_`."""

    name: str
    is_file: bool
    from_: int
    start: int
    end: int


class Form(msgspec.Struct, frozen=True):
    """The parts of a form in their order, and its delimiter without line ends."""

    content_type: str
    delimiter: bytes
    parts: tuple[Part, ...]


def is_form(content_type: str) -> bool:
    """Whether a body of this type is to be read as a form."""
    return content_type.lower().startswith("multipart/form-data")


def read_form(raw: bytes, content_type: str) -> Form:
    """Find the parts of a form. Raises BadRequest when it is none, or when it could be read in two ways."""
    boundary = _BOUNDARY.search(content_type)
    if not is_form(content_type) or boundary is None:
        raise BadRequest("The request body must be a form: content-type multipart/form-data with its boundary.")
    delimiter = b"--" + (boundary[1] or boundary[2]).encode("latin-1")
    return Form(content_type, delimiter, tuple(_parts(raw, delimiter)))


def texts_of(form: Form, raw: bytes) -> dict[str, str]:
    """Return the values that are no files, by name. Raises BadRequest for a name that stands twice."""
    texts: dict[str, str] = {}
    for part in form.parts:
        if part.is_file or part.name.endswith("[]"):
            continue
        if part.name in texts:
            raise BadRequest(f"'{part.name[:64]}' stands twice in the form.", param=part.name[:64])
        if part.end - part.start > _TEXT_BYTES_MAX:
            raise BadRequest(f"'{part.name[:64]}' is longer than {_TEXT_BYTES_MAX} bytes.", param=part.name[:64])
        texts[part.name] = raw[part.start : part.end].decode("utf-8", "replace")
    return texts


def with_model(form: Form, raw: bytes, *, model: str, without: Container[str]) -> bytes:
    """Return the form with another model, and without some parts; all other bytes stay."""
    pieces: list[bytes | memoryview] = []
    view = memoryview(raw)
    place = 0
    named = False
    for part in form.parts:
        if part.name == "model" and not part.is_file:
            pieces += (view[place : part.start], model.encode())
            place, named = part.end, True
        elif part.name in without:
            pieces.append(view[place : part.from_])
            place = part.end + len(b"\r\n")
    pieces.append(view[place:])
    if not named:
        head = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        pieces.insert(0, form.delimiter + head + model.encode() + b"\r\n")
    return b"".join(pieces)


def with_file(form: Form, raw: bytes, *, part: Part, content: bytes, without: Container[str]) -> bytes:
    """Return the form with other content in a part, and without some others. Raises BadRequest if it can't be told."""
    if b"\r\n" + form.delimiter in content or content.startswith(form.delimiter):
        raise BadRequest("The file holds the form's boundary: send it again with another one.", param=part.name)
    view = memoryview(raw)
    pieces: list[bytes | memoryview] = []
    for each in form.parts:
        if each.name in without and each is not part:
            continue
        value = content if each is part else view[each.start : each.end]
        pieces += (view[each.from_ : each.start], value, b"\r\n")
    pieces += (form.delimiter, b"--\r\n")
    return b"".join(pieces)


def _parts(raw: bytes, delimiter: bytes) -> Iterator[Part]:
    """Yield the parts in their order."""
    inner = b"\r\n" + delimiter
    if not raw.startswith(delimiter):
        raise BadRequest("The form does not begin with its boundary.")
    from_, place = 0, len(delimiter)
    for _ in range(_PARTS_MAX + 1):
        if raw.startswith(b"--", place):
            return
        line_end = _LINE_END.match(raw, place)
        head_end = raw.find(b"\r\n\r\n", place, place + _HEAD_BYTES_MAX)
        if line_end is None or head_end < 0:
            raise BadRequest("A part of the form has no head, or one that is too long.")
        start = head_end + 4
        if raw.startswith(delimiter, start) and _ends_delimiter(raw, start + len(delimiter)):
            raise BadRequest("A part of the form begins with the form's boundary: it could be read in two ways.")
        end = _next(raw, inner, start)
        name, is_file = _named(raw[line_end.end() : head_end])
        yield Part(name, is_file, from_, start, end)
        from_, place = end + len(b"\r\n"), end + len(inner)
    raise BadRequest(f"The form has more than {_PARTS_MAX} parts.")


def _next(raw: bytes, inner: bytes, start: int) -> int:
    """Return where the next delimiter begins; the same bytes with others behind them are none."""
    place = raw.find(inner, start)
    while place >= 0:
        after = place + len(inner)
        if _ends_delimiter(raw, after):
            return place
        place = raw.find(inner, after)
    raise BadRequest("The form is incomplete: its closing boundary is missing.")


def _ends_delimiter(raw: bytes, place: int) -> bool:
    return raw.startswith(b"--", place) or _LINE_END.match(raw, place) is not None


def _named(head: bytes) -> tuple[str, bool]:
    """Return the name of a part and whether it is a file."""
    found = _DISPOSITION.findall(head.replace(b"\r\n", b"\n"))
    if len(found) != 1:
        raise BadRequest("Each part of the form needs one header content-disposition: form-data.")
    given = [(name.lower(), value.strip(b'"')) for name, value in _PARAMETER.findall(found[0])]
    names = [value for name, value in given if name == b"name"]
    if len(names) != 1:
        raise BadRequest("Each part of the form needs one name.")
    is_file = any(name in (b"filename", b"filename*") for name, _ in given)
    return names[0].decode("utf-8", "replace"), is_file
