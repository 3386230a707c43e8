"""Seal the secrets of a control object's spec, and open them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tallystick.control.cipher import Cipher, key_id_of, seems_sealed
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import Kind
from tallystick.control.secret_fields import (
    MASK,
    Path,
    Replace,
    field_name,
    masked,
    place_of,
    replace_texts,
    secret_here,
    text_at,
    value_at,
)
from tallystick.errors import BadRequest, SecretUnreadable

Spec = dict[str, Any]  # Any: JSON.


class SecretValue(msgspec.Struct, frozen=True, kw_only=True):
    """Where a secret is and which key it needs; never what it is."""

    place: str
    key_id: str | None
    """None: it stands there as it is."""
    problem: str | None = None
    """Why it can't be opened."""


class Sealer:
    """Knows the keys and the registry. Pure but for the random part of each seal."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        self._cipher = Cipher(ring)

    def seal(self, kind: Kind, object_id: str, spec: Mapping[str, Any], *, before: Spec | None = None) -> Spec:
        """Return the spec with every secret sealed. What is sealed already, for this place, stays as it is.

        `before` is the spec that it replaces. A secret that is the same as before keeps its sealed form, so that
        nothing changes where nothing was changed; `****`, as reads show it, means: as before. Raises BadRequest,
        which names the field, for text that only pretends to be sealed, and for `****` where there was nothing.
        """
        former = _Former(kind, object_id, before or {}, spec)

        def sealed(path: Path, text: str) -> str:
            place = place_of(kind, object_id, path)
            kept = former.text(path)
            if seems_sealed(text):
                if text != kept and self._problem(text, place) is not None:
                    raise BadRequest(
                        f"'{field_name(path)}' must not begin as sealed secrets do: give the secret itself, or leave "
                        "the field out to keep it.",
                        param=field_name(path),
                    )
                return text
            is_secret = secret_here(kind, object_id, path, text)
            # A text that is secret by its form, not by its name, does not have that form when it is masked.
            if text == MASK and (is_secret or (kept is not None and seems_sealed(kept))):
                return former.behind_mask(path)
            if not is_secret:
                return text
            is_as_before = kept is not None and self._holds(kept, text, place)
            return kept if kept is not None and is_as_before else self._cipher.seal(text, place=place)

        return _replace(spec, sealed)

    def open(self, kind: Kind, object_id: str, spec: Mapping[str, Any]) -> Spec:
        """Return the spec with everything sealed opened. Raises SecretUnreadable, which names object and path."""

        def opened(path: Path, text: str) -> str:
            return self._cipher.open(text, place=place_of(kind, object_id, path)) if seems_sealed(text) else text

        return replace_texts(spec, opened)

    def reseal(self, kind: Kind, object_id: str, spec: Mapping[str, Any]) -> Spec:
        """Return the spec with every secret under the first key. What can't be opened stays as it is."""

        def resealed(path: Path, text: str) -> str:
            place = place_of(kind, object_id, path)
            if not seems_sealed(text):
                is_secret = secret_here(kind, object_id, path, text)
                return self._cipher.seal(text, place=place) if is_secret else text
            if key_id_of(text) == self.ring.first.key_id:
                return text
            try:
                return self._cipher.seal(self._cipher.open(text, place=place), place=place)
            except SecretUnreadable:
                return text

        return replace_texts(spec, resealed)

    def values(self, kind: Kind, object_id: str, spec: Mapping[str, Any]) -> tuple[SecretValue, ...]:  # Any: JSON.
        """Return every secret of a spec. Each is opened, to see whether it can be."""
        found: list[SecretValue] = []

        def note(path: Path, text: str) -> str:
            place = place_of(kind, object_id, path)
            if seems_sealed(text):
                found.append(SecretValue(place=place, key_id=key_id_of(text), problem=self._problem(text, place)))
            elif secret_here(kind, object_id, path, text):
                found.append(SecretValue(place=place, key_id=None))
            return text

        replace_texts(spec, note)
        return tuple(found)

    def rebind(self, kind: Kind, spec: Mapping[str, Any], *, old_id: str, new_id: str) -> Spec:
        """Return the spec of an object that takes another id, sealed for it. Raises SecretUnreadable."""
        return self.seal(kind, new_id, self.open(kind, old_id, spec))

    def _problem(self, sealed: str, place: str) -> str | None:
        """Say why a sealed value can't be opened; None when it can."""
        try:
            self._cipher.open(sealed, place=place)
        except SecretUnreadable as error:
            return error.reason
        return None

    def _holds(self, sealed: str, text: str, place: str) -> bool:
        try:
            return seems_sealed(sealed) and self._cipher.open(sealed, place=place) == text
        except SecretUnreadable:
            return False


class _Former:
    """The spec that another one replaces."""

    def __init__(self, kind: Kind, object_id: str, spec: Spec, successor: Mapping[str, Any]) -> None:  # Any: JSON.
        self._kind = kind
        self._object_id = object_id
        self._spec = spec
        self._successor = successor

    def text(self, path: Path) -> str | None:
        return text_at(self._spec, path)

    def behind_mask(self, path: Path) -> str:
        """Return the sealed text for which a read showed `****`. Raises BadRequest when that is not certain.

        In a list, an element that was removed moves the others up. So the element must be the same in all it shows, and
        the list not shorter.
        """
        kept = self.text(path)
        if kept is None or not self._is_same_element(path):
            raise BadRequest(
                f"'{field_name(path)}' is '{MASK}', which is how secrets are shown, and it can't be told which one is "
                "meant: give the secret itself.",
                param=field_name(path),
            )
        return kept

    def _is_same_element(self, path: Path) -> bool:
        position = next((number for number, step in enumerate(path) if isinstance(step, int)), None)
        if position is None:
            return True
        before, after = (
            value_at(masked(self._kind, self._object_id, spec), path[:position])
            for spec in (self._spec, self._successor)
        )
        index = path[position]
        assert isinstance(index, int), "a position in a list is a number"
        return len(after) >= len(before) and bool(after[index] == before[index])


def _replace(spec: Mapping[str, Any], replace: Replace) -> Spec:  # Any: JSON.
    try:
        return replace_texts(spec, replace)
    except ValueError as error:
        raise BadRequest(f"{error}.") from None
