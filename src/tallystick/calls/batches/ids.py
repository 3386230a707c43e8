"""The ids of files and batches that upstreams keep: sealed, as those of responses are (`calls.response_ids`)."""

from __future__ import annotations

from typing import Final

import msgspec

from tallystick.access.principal import Principal
from tallystick.calls.response_ids import KeptResponse
from tallystick.control.key_ring import KeyRing
from tallystick.control.owner import Owner
from tallystick.control.sealed_ids import IdSealer
from tallystick.errors import NotFound, PermissionDenied

_SHOWN_CHARACTERS: Final = 64


class HeldObject(KeptResponse, frozen=True, array_like=True):
    """Where a file or a batch is, and whose; of a batch's input also what it asks for."""

    of_batch: str = ""
    """Of a file that a batch made: the batch, by the upstream's id."""
    calls: int = 0
    input_tokens: int = 0
    """Hardly ever more."""
    output_tokens: int = 0
    """The sum of the limits that the calls set."""

    @property
    def owner(self) -> Owner:
        return Owner(self.key_hash, self.user_id, self.team_id)


def held_by(principal: Principal, *, deployment_id: str, model_group: str, upstream_id: str = "") -> HeldObject:
    """Return what a caller's new object is."""
    return HeldObject(
        upstream_id=upstream_id,
        deployment_id=deployment_id,
        model_group=model_group,
        key_hash=principal.key_hash,
        user_id=principal.user_id,
        team_id=principal.team_id,
    )


class HeldIds:
    """Makes and reads the ids of one kind."""

    def __init__(self, ring: KeyRing, *, kind: str, prefix: str) -> None:
        self._sealer = IdSealer(ring, use=kind)
        self._kind = kind
        self._prefix = prefix

    def tell(self, held: HeldObject) -> str:
        """Return the id that callers have."""
        return self._prefix + self._sealer.seal(encode_held(held))

    def find(self, object_id: str, principal: Principal, *, param: str | None = None) -> HeldObject:
        """Return what an id says. Raises NotFound for one that is not ours, PermissionDenied for somebody else's."""
        text = None
        if object_id.startswith(self._prefix):
            text = self._sealer.open(object_id.removeprefix(self._prefix))
        shown = object_id[:_SHOWN_CHARACTERS]
        if text is None:
            raise NotFound(f"There is no {self._kind} '{shown}': this gateway gave no such id.", param=param)
        held = decode_held(text)
        if not held.belongs_to(principal):
            raise PermissionDenied(f"The {self._kind} '{shown}' belongs to another key, user and team.", param=param)
        return held


def encode_held(held: HeldObject) -> str:
    """Return a text that `decode_held` reads."""
    return _ENCODER.encode(held).decode()


def decode_held(text: str) -> HeldObject:
    """Return what a text of ours says."""
    return _DECODER.decode(text)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(HeldObject)
