"""A call that is answered from the cache: admitted by its rates, written down like every call, and free.

It takes no room in a budget, as it spends nothing: a key whose budget is used up still gets what is kept. It is one
request of its caller's rates, and none of a deployment's. What it replays was billed when it was made, so that its
event has no tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tallystick.calls.admission import CallAdmission
from tallystick.calls.answer_headers import cost_header, replay_headers, time_headers
from tallystick.calls.attribution import Attribution
from tallystick.calls.caching.answer import CachedAnswer
from tallystick.calls.caching.cache import CacheUse
from tallystick.calls.call import CallContext, RunningCall
from tallystick.calls.plain_answer import PlainAnswer
from tallystick.calls.route import Route
from tallystick.calls.settle import Settler

_UNCACHED: Final = [(b"cache-control", b"no-cache")]


class Replayer:
    """Answers calls from the cache. One per process."""

    def __init__(self, *, admission: CallAdmission, settler: Settler, monotonic: Callable[[], float]) -> None:
        self._admission = admission
        self._settler = settler
        self._monotonic = monotonic

    async def replay(
        self,
        context: CallContext,
        attribution: Attribution,
        route: Route,
        use: CacheUse,
        answer: CachedAnswer,
        *,
        begun: float,
    ) -> PlainAnswer:
        """Return the answer when its event is in the journal. Raises RateLimited, LedgerUnavailable."""
        admitted = await self._admission.admit_replay(context, attribution, route.deployments)
        call = RunningCall(
            context=context, attribution=attribution, deployment=route.deployments[0], input_tokens_estimate=0
        )
        self._settler.begin(lambda: call.replay_intent(answer), admitted)
        event = call.replay_event(answer, ended_at=self._settler.now())
        await self._settler.end(event)
        headers = [
            *replay_headers(answer, model_group=call.deployment.model_group),
            *use.headers(hit=True),
            *time_headers(whole_seconds=self._monotonic() - begun, upstream_seconds=0.0),
            *cost_header(event),
            *admitted.headers(),
            *(_UNCACHED if context.request.stream else ()),
        ]
        return PlainAnswer(
            status=answer.status, content_type=answer.content_type, body=answer.body, headers=headers, event=event
        )
