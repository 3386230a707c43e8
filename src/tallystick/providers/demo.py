"""The built-in echo provider: the first call needs no account anywhere."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.providers.base import Answer, Target
from tallystick.providers.canned import Canned, last_text
from tallystick.providers.translator import Translator
from tallystick.wire.call_request import CallRequest

_ECHO_CHARACTERS_MAX = 2000


class Demo:
    """Says back what it was told, with plausible usage. Tools and images are left alone."""

    def __init__(self, *, new_id: Callable[[], str], now_seconds: Callable[[], int], translator: Translator) -> None:
        self._translator = translator
        self._canned = Canned(name="demo", new_id=new_id, now_seconds=now_seconds)

    async def send(self, request: CallRequest, target: Target) -> Answer:
        """Answer at once; see Provider.send."""
        return await self._translator.send_local(request, target, self._answer)

    def _answer(self, request: CallRequest, target: Target) -> Answer:
        if request.endpoint == "embeddings":
            return self._canned.embedding_answer(request, model=target.model)
        said = last_text(request)[:_ECHO_CHARACTERS_MAX]
        text = f"You said: {said}" if said else "You said nothing that I can read."
        return self._canned.text_answer(request, model=target.model, text=text)
