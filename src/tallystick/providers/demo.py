"""The built-in echo provider: the first call needs no account anywhere."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.providers.base import Answer, Target
from tallystick.providers.canned import Canned, last_text
from tallystick.wire.openai_request import OpenAIRequest

_ECHO_CHARACTERS_MAX = 2000


class Demo:
    """Says back what it was told, with plausible usage. Tools and images are left alone."""

    def __init__(self, *, new_id: Callable[[], str], now_seconds: Callable[[], int]) -> None:
        self._canned = Canned(name="demo", new_id=new_id, now_seconds=now_seconds)

    async def send(self, request: OpenAIRequest, target: Target) -> Answer:
        """Answer at once; see Provider.send."""
        if request.endpoint == "embeddings":
            return self._canned.embedding_answer(request, model=target.model)
        said = last_text(request)[:_ECHO_CHARACTERS_MAX]
        text = f"You said: {said}" if said else "You said nothing that I can read."
        return self._canned.text_answer(request, model=target.model, text=text)
