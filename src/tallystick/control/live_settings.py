"""Settings that may be changed while the gateway runs: which there are, and what is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
import pydantic

from tallystick.config.accounting_settings import CostSettings
from tallystick.config.places import OWN_SECTION
from tallystick.config.settings import RoutingSettings, Settings
from tallystick.control.live_routing import ROUTING, TIMEOUTS, check_routing, checks_seconds, live_routing, live_type

DISCOUNTS: Final = "litellm_settings.cost_discount_config"
MARGINS: Final = "litellm_settings.cost_margin_config"
OF_DEPLOYMENTS: Final = frozenset((DISCOUNTS, MARGINS, *(name for names in TIMEOUTS.values() for name in names)))
"""On these every deployment depends: its price and its timeouts."""
PUBLIC_MODEL_GROUPS: Final = "litellm_settings.public_model_groups"
BUDGET_ROLLOVER: Final = "litellm_settings.budget_rollover"
BLOCK_UNPRICED: Final = "litellm_settings.block_requests_for_models_without_pricing"
_LIST_MAX: Final = 10_000


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force at a revision: the file's, and the database's where the file has none."""

    costs: CostSettings = CostSettings()
    routing: RoutingSettings = RoutingSettings()
    timeout_seconds: float = 600.0
    """Of a whole plain answer, where a deployment says nothing else."""
    stream_timeout_seconds: float | None = None
    """Of the first byte of a stream and of pauses in it; None: as of a plain answer."""
    public_model_groups: tuple[str, ...] = ()
    budget_rollover: bool = False
    """Whether what was spent above the limit of a budget window counts in the next one too."""
    denies_unknown_prices: bool = False
    """Whether calls are refused whose price is unknown."""
    values: Mapping[str, Any] = {}  # Any: JSON.
    """Other live settings that are set, by the whole name, as in `litellm_settings.default_team_params`."""


class LiveSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the admin API may write."""

    description: str
    type_name: str
    check: Callable[[Any], object]  # Any: JSON.
    """Raises ValueError that says what would be right."""
    has_effect: bool = True
    """False: it is kept and shown, and nothing acts upon it yet."""


def live_settings(settings: Settings, written: Mapping[str, Any]) -> LiveSettings:  # Any: JSON.
    """Return what is in force. `written` are the database's values by the whole name, checked by `LIVE`."""
    values = {name: value for name, value in written.items() if name not in settings.owned}
    costs = settings.costs
    given = {"discounts": values.get(DISCOUNTS), "margins": values.get(MARGINS)}
    if any(value is not None for value in given.values()):
        kept = {
            "discounts": costs.discounts,
            "margins": costs.margins,
            "batch_price_factor": costs.batch_price_factor,
        }
        costs = CostSettings.model_validate(kept | {name: value for name, value in given.items() if value is not None})
    upstream = settings.upstream
    return LiveSettings(
        costs=costs,
        routing=live_routing(settings.routing, values),
        timeout_seconds=_first(values, "timeout", upstream.timeout_seconds),
        stream_timeout_seconds=_first(values, "stream_timeout", upstream.stream_timeout_seconds),
        public_model_groups=tuple(values.get(PUBLIC_MODEL_GROUPS, settings.control.public_model_groups)),
        budget_rollover=values.get(BUDGET_ROLLOVER, settings.budgets.rollover),
        denies_unknown_prices=(
            settings.budgets.unknown_price == "deny"
            or values.get(BLOCK_UNPRICED, settings.budgets.blocks_unpriced_models)
        ),
        values={name: value for name, value in (*settings.file_values.items(), *values.items()) if name in LIVE},
    )


def _first(values: Mapping[str, Any], timeout: str, default: Any) -> Any:  # Any: JSON that was checked.
    return next((values[name] for name in TIMEOUTS[timeout] if name in values), default)


def _costs(field: str) -> Callable[[Any], object]:  # Any: JSON.
    def check(value: Any) -> object:  # Any: JSON.
        try:
            return CostSettings.model_validate({field: value})
        except pydantic.ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = ".".join(str(step) for step in first["loc"][1:])
            raise ValueError(f"{place or 'it'}: {first['msg']}") from None

    return check


def _is(of: Any, words: str) -> Callable[[Any], object]:  # Any: a type as msgspec takes it; JSON.
    def check(value: Any) -> object:  # Any: JSON.
        try:
            return msgspec.convert(value, of)
        except msgspec.ValidationError:
            raise ValueError(f"it must be {words}") from None

    return check


_SWITCH: Final = _is(bool, "true or false")
_OBJECT: Final = _is(dict[str, Any], "a JSON object")  # Any: JSON.
_TEXTS: Final = _is(Annotated[list[str], msgspec.Meta(max_length=_LIST_MAX)], "a list of texts")

LIVE: Final[Mapping[str, LiveSetting]] = {
    DISCOUNTS: LiveSetting(
        description="Discount by provider, as a fraction.", type_name="Dict", check=_costs("discounts")
    ),
    MARGINS: LiveSetting(
        description="Margin by provider, or `global`: a fraction, or percentage and fixed_amount (USD a call).",
        type_name="Dict",
        check=_costs("margins"),
    ),
    **{
        place.name: LiveSetting(
            description=entry.description,
            type_name=live_type(entry),
            check=partial(check_routing, entry.field_path[-1]),
        )
        for entry in ROUTING
        for place in entry.file_places
        if not place.name.startswith(OWN_SECTION)
    },
    **{
        name: LiveSetting(
            description="Longest wait for a whole plain answer, or for a stream's first byte and between its parts.",
            type_name="Float",
            check=checks_seconds,
        )
        for names in TIMEOUTS.values()
        for name in names
    },
    PUBLIC_MODEL_GROUPS: LiveSetting(
        description="Model groups that /model_group/info calls public.", type_name="List", check=_TEXTS
    ),
    "litellm_settings.public_model_groups_links": LiveSetting(
        description="Links about public model groups.", type_name="Dict", check=_OBJECT, has_effect=False
    ),
    "litellm_settings.default_internal_user_params": LiveSetting(
        description="What new users have unless told otherwise.", type_name="Dict", check=_OBJECT, has_effect=False
    ),
    "litellm_settings.default_team_params": LiveSetting(
        description="What new teams have unless told otherwise.", type_name="Dict", check=_OBJECT, has_effect=False
    ),
    "litellm_settings.turn_off_message_logging": LiveSetting(
        description="Keep messages and answers from callbacks.", type_name="Boolean", check=_SWITCH
    ),
    BUDGET_ROLLOVER: LiveSetting(
        description="Carry what was spent above the limit of a budget window into the next one.",
        type_name="Boolean",
        check=_SWITCH,
    ),
    BLOCK_UNPRICED: LiveSetting(description="Refuse calls whose price is unknown.", type_name="Boolean", check=_SWITCH),
}
"""By the whole name. LiteLLM lets the database override these while it runs, too."""
