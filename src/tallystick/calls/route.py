"""The route of one call: the model groups that it may go through, and what it may try of the one it is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from tallystick.access.principal import Principal
from tallystick.calls.model_choice import choose_model
from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import BadRequest, ModelNotAllowed
from tallystick.routing.choice import Choice, Wanted, choose
from tallystick.routing.failure import FailureKind
from tallystick.routing.fallbacks import fallbacks_of
from tallystick.routing.policies import policy_retries
from tallystick.routing.tracker import Tracker
from tallystick.wire.call_options import CallOptions

log = structlog.get_logger(__name__)


class Router:
    """Makes routes. One per process."""

    def __init__(self, *, snapshot: Callable[[], Snapshot], tracker: Tracker, draw: Callable[[], float]) -> None:
        self._snapshot = snapshot
        self._tracker = tracker
        self._draw = draw

    def begin(self, principal: Principal, model: str, options: CallOptions, wanted: Wanted) -> Route:
        """Return the route of a call that asks for a model. It keeps the snapshot of now.

        Raises ModelNotAllowed, also for a fallback that the caller names; BadRequest for a model that there is not, and
        where no deployment takes the call and there is no fallback.
        """
        route = Route(principal, options, wanted, self._snapshot(), tracker=self._tracker, draw=self._draw)
        route.enter_first(model)
        return route


class Route:
    """Where one call is. `deployments` are of one group, `fall_back` goes on to the next."""

    __slots__ = (
        "_asked",
        "_draw",
        "_pending",
        "_principal",
        "_snapshot",
        "_tracker",
        "_tried",
        "_wanted",
        "deployments",
        "fallbacks",
        "has_others",
        "options",
        "retries",
        "settings",
        "tried_in_group",
    )

    def __init__(
        self,
        principal: Principal,
        options: CallOptions,
        wanted: Wanted,
        snapshot: Snapshot,
        *,
        tracker: Tracker,
        draw: Callable[[], float],
    ) -> None:
        self.options = options
        self.settings = snapshot.settings.routing
        self.deployments: Sequence[Deployment] = ()
        """Of the group that the call is in, in the order in which they are to be tried."""
        self.has_others = False
        """Whether the group has more than one deployment, cooling ones included."""
        self.retries = self.fallbacks = 0
        """How many tries came after the first one of their group, and how many groups after the first."""
        self.tried_in_group = False
        """Whether an attempt was made since the call came to this group."""
        self._principal = principal
        self._wanted = wanted
        self._snapshot = snapshot
        self._tracker = tracker
        self._draw = draw
        self._asked = ""
        self._tried: set[str] | None = None
        self._pending: list[str] = []

    @property
    def group(self) -> str:
        """The model group that the call is in."""
        return self.deployments[0].model_group

    def enter_first(self, model: str) -> None:
        """Choose among the deployments of the model that the caller asks for; see Router.begin."""
        self._asked = model
        members = choose_model(self._principal, model, self._snapshot)
        settings = self.settings
        if self.options.fallbacks:
            self._check_named()
        has_conditions = settings.enable_tag_filtering or settings.enable_pre_call_checks or self._wanted.deployment_id
        if len(members) == 1 and not has_conditions:
            self.deployments = members
            return
        choice = self._enter(members)
        if choice.kind is None and not choice.is_cooling:
            return
        if self.fall_back(choice.kind or FailureKind.RATE_LIMIT, group=members[0].model_group):
            return
        if choice.kind is not None:
            field = "previous_response_id" if self._wanted.deployment_id else "tags"
            raise BadRequest(choice.reason, param="messages" if choice.kind is FailureKind.CONTEXT_WINDOW else field)
        self._enter(members)

    def fall_back(self, kind: FailureKind, *, group: str | None = None) -> bool:
        """Go on to the next model group that the settings or the caller name; False when there is none.

        A group that the caller may not use, that there is not, or that has nothing for this call, is left out.
        """
        failed = self.group if group is None else group
        names = fallbacks_of(failed, kind, self.options, self.settings)
        if self._tried is None:
            if not names:
                return False
            self._tried = {failed, self._asked}
        self._pending = [*names, *self._pending]  # First those of the group that failed last.
        most = self.settings.max_fallbacks if self.options.max_fallbacks is None else self.options.max_fallbacks
        while self._pending and self.fallbacks < most:
            name = self._pending.pop(0)
            if name in self._tried:
                continue
            self._tried.add(name)
            try:
                members = choose_model(self._principal, name, self._snapshot)
            except (ModelNotAllowed, BadRequest) as error:
                log.warning("fallback_left_out", model_group=name, reason=error.message)
                continue
            if members[0].model_group in self._tried and members[0].model_group != name:
                continue
            before = (self.deployments, self.has_others)
            choice = self._enter(members)
            if choice.kind is not None or choice.is_cooling:
                self.deployments, self.has_others = before
                continue
            self.fallbacks += 1
            self._tried.add(members[0].model_group)
            return True
        return False

    def retries_for(self, kind: FailureKind, deployment: Deployment) -> tuple[int, int | None]:
        """Return how often the group is tried again after this, and what a policy says of it, if one does."""
        of_policy = policy_retries(kind, self.settings, deployment.model_group)
        if of_policy is not None:
            return of_policy, of_policy
        for own in (self.options.num_retries, deployment.num_retries):
            if own is not None:
                return own, None
        return self.settings.num_retries, None

    def _enter(self, members: Sequence[Deployment]) -> Choice:
        choice = choose(
            members[0].model_group, members, self._wanted, self.settings, tracker=self._tracker, draw=self._draw
        )
        self.deployments = choice.deployments
        self.has_others = len(members) > 1
        return choice

    def _check_named(self) -> None:
        """Raise ModelNotAllowed or BadRequest for a fallback of the caller's that it may not use."""
        assert self.options.fallbacks is not None
        for names in self.options.fallbacks.values():
            for name in names:
                choose_model(self._principal, name, self._snapshot)
