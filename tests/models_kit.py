"""A snapshot builder with prices that are known, and rows for it, sealed as they are at rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tallystick.config.load import load_settings
from tallystick.config.secret_keys import SecretKey
from tallystick.config.settings import Settings
from tallystick.control.build import SnapshotBuilder
from tallystick.control.key_ring import KeyRing
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.sealer import Sealer
from tallystick.control.snapshot_keeper import SnapshotKeeper
from tallystick.pricing.price import PriceSheet, Rate
from tallystick.testing import FakeClock

SEALER = Sealer(KeyRing([SecretKey(key_id="test", key=bytes(32))]))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GPT = {"model": "openai/gpt-4o", "api_key": "sk-secret-of-the-upstream"}


class FixedPrices:
    """A price list that knows every model of OpenAI's, and remembers what it was asked."""

    def __init__(self) -> None:
        self.change: datetime | None = None
        self.asked: list[tuple[str, str, str]] = []

    def resolve(self, provider: str, model: str, *, now: datetime, api_base: str = "") -> PriceSheet | None:
        self.asked.append((provider, model, api_base))
        rates = {"input": Rate(nano_usd_per_million=2_500_000_000), "output": Rate(nano_usd_per_million=10_000_000_000)}
        return PriceSheet(version=f"fixed:{now.isoformat()}", rates=rates) if provider == "openai" else None

    def next_change(self, provider: str, model: str, *, now: datetime, api_base: str = "") -> datetime | None:
        return self.change if self.change is not None and self.change > now else None

    def context_tokens(self, provider: str, model: str, *, api_base: str = "") -> int | None:
        return 128_000 if provider == "openai" else None


def settings_of(tmp_path: Any = None, text: str = "", environ: dict[str, str] | None = None) -> Settings:
    """Read a configuration from its text."""
    file = None
    if text:
        file = tmp_path / "config.yaml"
        file.write_text(text, encoding="utf-8")
    return load_settings(config_file=file, overrides={}, environ={"HOME": "/home/me", **(environ or {})})


def builder_of(settings: Settings, *, clock: Any = None, prices: Any = None, environ: dict[str, str] | None = None):
    known = prices or FixedPrices()
    return SnapshotBuilder(
        settings, environ=environ or {}, clock=clock or FakeClock(), price_list=lambda: known, sealer=SEALER
    )


def keeper_of(store: Any, *, clock: Any = None) -> SnapshotKeeper:
    """Return a keeper without a configuration file, for tests that are about something else."""
    return SnapshotKeeper(store, builder_of(settings_of(), clock=clock))


def row(kind: Kind, object_id: str, spec: dict[str, Any], *, revision: int = 1, **columns: Any) -> ControlObject:
    """Return an object as the database has it."""
    sealed = SEALER.seal(kind, object_id, spec)
    return ControlObject(
        kind=kind, object_id=object_id, spec=sealed, revision=revision, created_at=NOON, updated_at=NOON, **columns
    )


def model(object_id: str, name: str = "gpt", info: dict[str, Any] | None = None, **params: Any) -> ControlObject:
    """Return a deployment's row. `_blocked`, `_revision` and `_team` are its columns."""
    columns = {"blocked": params.pop("_blocked", False), "revision": params.pop("_revision", 1)}
    columns["team_id"] = params.pop("_team", "")
    spec = {"litellm_params": {**GPT, **params}, "model_info": info or {}}
    return row(Kind.MODEL, object_id, spec, name=name, **columns)


def credential(name: str, *, revision: int = 1, **values: Any) -> ControlObject:
    return row(Kind.CREDENTIAL, name, {"credential_values": values, "credential_info": {}}, revision=revision)


def setting(name: str, value: Any, *, revision: int = 1) -> ControlObject:
    return row(Kind.SETTING, name, {"value": value}, revision=revision)


def variable(name: str, value: str, *, revision: int = 1) -> ControlObject:
    return row(Kind.ENVIRONMENT_VARIABLE, name, {"value": value}, revision=revision)


def access_group(object_id: str, name: str, *models: str) -> ControlObject:
    return row(Kind.ACCESS_GROUP, object_id, {"models": list(models)}, name=name)


def damaged(held: ControlObject) -> ControlObject:
    """Return the object with a secret that can't be opened."""
    spec = {**held.spec, "litellm_params": {**held.spec["litellm_params"], "api_key": "sealed:v1:gone:AAAA"}}
    return ControlObject(**{**{f: getattr(held, f) for f in held.__struct_fields__}, "spec": spec})
