"""The ids of responses that upstreams keep: callers get ids that say, sealed, which deployment has it and whose it is.

So every instance knows both without asking anybody, also when the database is away, and nobody can make such an id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from tallystick.access.principal import Principal
from tallystick.control.deployment import Deployment
from tallystick.control.key_ring import KeyRing
from tallystick.control.sealed_ids import IdSealer
from tallystick.errors import NotFound, PermissionDenied

_PREFIX: Final = "resp_"
_SHOWN_CHARACTERS: Final = 64


class KeptResponse(msgspec.Struct, frozen=True, array_like=True):
    """Where a response is, and whose."""

    upstream_id: str
    deployment_id: str
    model_group: str
    key_hash: str
    user_id: str
    team_id: str

    def belongs_to(self, principal: Principal) -> bool:
        """Whether a caller may go on from it, read it and delete it: its key, its user or its team made it."""
        return (
            principal.is_admin
            or principal.key_hash == self.key_hash
            or (self.user_id != "" and principal.user_id == self.user_id)
            or (self.team_id != "" and principal.team_id == self.team_id)
        )


class ResponseIds:
    """Makes and reads them. One per process."""

    def __init__(self, ring: KeyRing) -> None:
        self._sealer = IdSealer(ring, use="response")

    def teller(self, principal: Principal, deployment: Deployment) -> Callable[[str], str]:
        """Return what makes the ids of this caller's responses at this deployment."""
        return self.teller_like(
            KeptResponse(
                upstream_id="",
                deployment_id=deployment.deployment_id,
                model_group=deployment.model_group,
                key_hash=principal.key_hash,
                user_id=principal.user_id,
                team_id=principal.team_id,
            )
        )

    def teller_like(self, kept: KeptResponse) -> Callable[[str], str]:
        """Return what makes the ids of responses in the same place, of the same owner."""

        def tell(upstream_id: str) -> str:
            response = msgspec.structs.replace(kept, upstream_id=upstream_id)
            return _PREFIX + self._sealer.seal(_ENCODER.encode(response).decode())

        return tell

    def find(self, response_id: str, principal: Principal) -> KeptResponse:
        """Return what an id says. Raises NotFound for one that is not ours, PermissionDenied for somebody else's."""
        text = self._sealer.open(response_id.removeprefix(_PREFIX)) if response_id.startswith(_PREFIX) else None
        shown = response_id[:_SHOWN_CHARACTERS]
        if text is None:
            raise NotFound(
                f"There is no response '{shown}': its id is none that this gateway gave, or it was made by a model "
                "whose provider keeps no responses."
            )
        kept = _DECODER.decode(text)
        if not kept.belongs_to(principal):
            raise PermissionDenied(f"The response '{shown}' belongs to another key, user and team.")
        return kept


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(KeptResponse)
