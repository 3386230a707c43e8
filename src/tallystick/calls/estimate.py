"""What a call may cost, before it is made: bounds on its tokens times the dearest of its candidate deployments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tallystick.access.leasing.admission import Estimate
from tallystick.control.deployment import Deployment
from tallystick.ledger.event import SpendEvent
from tallystick.pricing.ceiling import charges_output, cost_ceiling, is_free
from tallystick.pricing.price import PriceSheet
from tallystick.pricing.service_tier import possible_sheets
from tallystick.wire.call_request import NOT_GENERATING, UNBILLED, CallRequest
from tallystick.wire.service_tier import tiers_ruled_out
from tallystick.wire.token_estimate import InputTokens, hides_names

_HABITS_MAX: Final = 10_000
_REMEMBERED_CALLS: Final = 200
_OUTPUT_LIMIT_KEYS: Final = ("max_output_tokens", "max_tokens")
_NANO_USD_MAX: Final = 10**17  # A hundred million dollars: no budget is as large, and 64 bits hold it.
_MILLISECONDS: Final = 60_000  # What a call is taken to last where time has a price.
_AUDIO_MARKS: Final = (b'"input_audio"', b'"audio"', b'"audio/', b'"video/', b'"fileUri"', b'"file_uri"')
FREE: Final = Estimate(need_nano_usd=0, full_nano_usd=0)
"""Of a call that costs nothing, whatever it uses."""


class OutputHabits:
    """How many tokens calls without a limit of their own have generated of late, by model group.

    The largest of the last 200 to 400 calls, so that one long answer is not remembered for ever.
    """

    def __init__(self) -> None:
        # The largest of the calls before, the largest of the current run of calls, and how long that run is.
        self._seen: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def largest(self, model_group: str) -> int | None:
        """Return the most output tokens of one choice, None before the first call."""
        seen = self._seen.get(model_group)
        return None if seen is None else max(seen[0], seen[1])

    def note(self, model_group: str, output_tokens: int) -> None:
        before, current, calls = self._seen.pop(model_group, (0, 0, 0))
        if calls >= _REMEMBERED_CALLS:
            before, current, calls = current, 0, 0
        self._seen[model_group] = (before, max(current, output_tokens), calls + 1)
        if len(self._seen) > _HABITS_MAX:
            self._seen.popitem(last=False)


class CallEstimator:
    """Estimates calls. One per process."""

    def __init__(self, *, output_tokens_default: int) -> None:
        self._output_tokens_default = output_tokens_default
        self._habits = OutputHabits()

    def estimate(
        self, request: CallRequest, deployments: Sequence[Deployment], input_tokens: InputTokens
    ) -> Estimate | None:
        """Return what the call may cost at the dearest deployment; None when none of their prices is known.

        Deployments without a price are left out: see `priced`. Only what is free is estimated at nothing, as a call
        may also be charged for what nobody knows before it.
        """
        if request.endpoint in UNBILLED:
            return FREE
        sheets = [each.price for each in priced(deployments) if each.price is not None]
        if not sheets:
            return None
        if any(sheet.service_tiers or sheet.factors for sheet in sheets):
            without = tiers_ruled_out(request.said)
            sheets = [possible for sheet in sheets for possible in possible_sheets(sheet, without=without)]
        if all(is_free(sheet) for sheet in sheets):
            return FREE
        output_full = self._output_limit(request, deployments)
        ceiling = _Ceiling(request, sheets, input_tokens.bound)
        need = ceiling.at(output_full)
        full = ceiling.at(output_full, milliseconds=_MILLISECONDS)
        if request.max_output_tokens is not None or request.endpoint in NOT_GENERATING or not charges_output(sheets):
            return Estimate(need_nano_usd=need, full_nano_usd=full)
        usual = self._habits.largest(deployments[0].model_group)
        if usual is None:
            return Estimate(need_nano_usd=need, full_nano_usd=full, takes_the_rest=True)
        need = ceiling.at(min(usual, output_full))
        return Estimate(need_nano_usd=need, full_nano_usd=max(full, need))

    def tokens(self, request: CallRequest, deployments: Sequence[Deployment], input_tokens: InputTokens) -> int:
        """Return how many tokens the call may use, for limits on their rate."""
        if request.endpoint in NOT_GENERATING:
            return input_tokens.estimate
        output = request.max_output_tokens
        if output is None:
            output = self._habits.largest(deployments[0].model_group) or 0
        return input_tokens.estimate + output * request.choices

    def note(self, request: CallRequest, event: SpendEvent) -> None:
        """Learn from a call that set no limit and whose provider counted what it generated."""
        output_tokens = event.usage.output_tokens
        if request.max_output_tokens is None and event.usage_source == "provider" and output_tokens:
            self._habits.note(event.model_group, -(-output_tokens // request.choices))

    def _output_limit(self, request: CallRequest, deployments: Sequence[Deployment]) -> int:
        """Return the most output tokens of one choice: the caller's limit, else the model's, else the setting."""
        if request.endpoint in NOT_GENERATING:
            return 0
        limits = [_output_limit_of(each) for each in deployments]
        asked = request.max_output_tokens
        if None in limits:
            if asked is not None:
                return asked
            return max((*(limit for limit in limits if limit is not None), self._output_tokens_default))
        largest = max(limit for limit in limits if limit is not None)
        return largest if asked is None else min(asked, largest)


def priced(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Return those whose price is known. A sheet without any rate prices nothing."""
    return [each for each in deployments if each.price is not None and each.price.rates]


def _output_limit_of(deployment: Deployment) -> int | None:
    for key in _OUTPUT_LIMIT_KEYS:
        limit = deployment.model_info.get(key)
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
            return limit
    return None


class _Ceiling:
    """The most that one call costs, by how much it generates."""

    __slots__ = ("_choices", "_has_audio", "_input_tokens", "_sheets", "_units", "_writes_cache")

    def __init__(self, request: CallRequest, sheets: Sequence[PriceSheet], input_tokens: int) -> None:
        raw = request.said
        hidden = hides_names(raw)
        self._sheets = sheets
        self._input_tokens = input_tokens
        self._choices = request.choices
        self._writes_cache = hidden or b'"cache_control"' in raw
        self._units = request.units
        self._has_audio = hidden or request.units.milliseconds is not None or any(mark in raw for mark in _AUDIO_MARKS)

    def at(self, output_tokens: int, *, milliseconds: int = 0) -> int:
        """Return nano-USD, at least 1. `output_tokens` are those of one choice."""
        dearest = max(
            cost_ceiling(
                sheet,
                input_tokens=self._input_tokens,
                output_tokens=output_tokens * self._choices,
                writes_cache=self._writes_cache,
                has_audio=self._has_audio,
                milliseconds=milliseconds if self._units.milliseconds is None else self._units.milliseconds,
                units=self._units,
            )
            for sheet in self._sheets
        )
        return min(max(dearest, 1), _NANO_USD_MAX)
