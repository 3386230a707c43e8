"""The snapshot builder: the file's deployments and the database's become one immutable snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final, NamedTuple

import msgspec

from tallystick.config.settings import Settings
from tallystick.control.assemble import assemble
from tallystick.control.candidates import Candidate, candidate_of_object, candidates_of_file
from tallystick.control.deployment import Deployment
from tallystick.control.objects import ControlObject, Kind
from tallystick.control.pass_through import PassThrough, PassThroughEndpoint
from tallystick.control.pass_through_build import build_pass_through, check_endpoints, endpoint_of_object
from tallystick.control.prices import PriceList
from tallystick.control.resolve import Around, Resolved, resolve
from tallystick.control.resolving import CannotServe
from tallystick.control.sealer import Sealer
from tallystick.control.secret_fields import masked
from tallystick.control.snapshot import LeftOut, Snapshot
from tallystick.control.store import Loaded
from tallystick.control.surroundings import Written, read_written
from tallystick.errors import ConfigError, TallystickError
from tallystick.providers.base import InvalidTarget
from tallystick.providers.library_target import require_library
from tallystick.runtime.clock import Clock

NOTHING_LOADED: Final = Loaded(revision=0, objects=())
_LOADED_WITH: Final[Mapping[str, tuple[Kind, ...]]] = {
    "models": (Kind.MODEL, Kind.CREDENTIAL),
    "config_overrides": (Kind.SETTING, Kind.ENVIRONMENT_VARIABLE),
    "pass_through_endpoints": (Kind.PASS_THROUGH_ENDPOINT,),
}


class _Built(NamedTuple):
    key: tuple[object, ...]
    """Equal while the outcome would be the same."""
    outcome: Deployment | LeftOut | None
    """None when it is blocked."""
    prices_until: datetime | None = None


class SnapshotBuilder:
    """Builds snapshots. A deployment of which nothing changed is taken from the last one."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        price_list: Callable[[], PriceList],
        sealer: Sealer,
    ) -> None:
        """`environ` is the process's; `price_list` is called before the first deployment is priced.

        Raises ConfigError when two of the file's deployments have the same id.
        """
        self.settings = settings
        self.kinds = _kinds(settings)
        """What is to be loaded of the database."""
        self.prices_until: datetime | None = None
        """When the first price of the last snapshot changes by the calendar; None when none does."""
        self._environ = dict(environ)
        self._clock = clock
        self._price_list = price_list
        self._sealer = sealer
        self._of_file = candidates_of_file(settings.model_list)
        self._price_epoch = 0
        self._built: dict[str, _Built] = {}
        self._around: Around | None = None

    @property
    def file_ids(self) -> frozenset[str]:
        """The ids of the file's deployments."""
        return frozenset(candidate.deployment_id for candidate in self._of_file)

    def check(self) -> None:
        """Resolve what the file alone says. Raises ConfigError that names the entry and the field that is wrong.

        An entry whose credential is not in the file may find it in the database.
        """
        around = self._around_of(self._read(NOTHING_LOADED, []))
        _check_library(self.settings)
        check_endpoints(self.settings.pass_through.endpoints, around)
        in_file = {entry.credential_name for entry in self.settings.credential_list}
        for candidate in self._of_file:
            if candidate.credential_name and candidate.credential_name not in in_file and self._has(Kind.CREDENTIAL):
                continue
            try:
                resolve(candidate, around, shown={})
            except CannotServe as error:
                reason = f"{error} (model group '{candidate.model_group}')"
                raise ConfigError(reason, key_path=f"model_list[{candidate.index}].{error.field}") from error

    def begin(self, loaded: Loaded) -> Building:
        """Start a snapshot of the file and of these objects, of the kinds in `kinds`."""
        left_out: list[LeftOut] = []
        written = self._read(loaded, left_out)
        return Building(self, loaded, written, self._around_of(written), left_out)

    def build(self, loaded: Loaded) -> Snapshot:
        """Return a snapshot at once."""
        building = self.begin(loaded)
        while building.advance(1_000):
            continue
        return building.finish()

    def load_prices(self) -> None:
        """Load the price list, which takes long the first time."""
        self._price_list()

    def renew_prices(self) -> None:
        """Look every price up again when the next snapshot is built."""
        self._price_epoch += 1

    def try_build(
        self,
        held: ControlObject,
        *,
        credentials: Mapping[str, Mapping[str, Any]] | None = None,  # Any: JSON.
    ) -> Deployment:
        """Return the deployment that an object would be with what is in force, and with these credentials' values.

        Raises CannotServe.
        """
        around = self._around or self._around_of(self._read(NOTHING_LOADED, []))
        if credentials:
            around = msgspec.structs.replace(around, credentials={**around.credentials, **credentials})
        return self._resolved(held, around).deployment

    def try_endpoint(self, held: ControlObject) -> PassThroughEndpoint:
        """Return the pass-through endpoint that an object would be with what is in force. Raises CannotServe."""
        around = self._around or self._around_of(self._read(NOTHING_LOADED, []))
        return endpoint_of_object(held, self._sealer.open(held.kind, held.object_id, held.spec), around)

    # What a Building asks

    def pass_through(self, objects: Sequence[ControlObject], around: Around, left_out: list[LeftOut]) -> PassThrough:
        """Return what calls are passed through to; endpoints that can't be called are added to `left_out`."""
        return build_pass_through(
            self.settings, objects=objects, around=around, open_spec=self._sealer.open, left_out=left_out
        )

    def cached(self, place: str, key: tuple[object, ...]) -> _Built | None:
        """Return what was built last, when it would be the same."""
        built = self._built.get(place)
        return built if built is not None and built.key == key else None

    def of_file(self, candidate: Candidate, key: tuple[object, ...], around: Around) -> _Built:
        """Build one of the file's deployments."""
        try:
            resolved = resolve(candidate, around, shown=self._shown(candidate))
        except CannotServe as error:
            return _Built(key, _left_out(candidate.deployment_id, candidate.model_group, f"{error.field}: {error}"))
        return _Built(key, *resolved)

    def of_object(self, held: ControlObject, key: tuple[object, ...], around: Around) -> _Built:
        """Build one of the database's deployments."""
        if held.blocked:
            return _Built(key, None)
        try:
            resolved = self._resolved(held, around)
        except CannotServe as error:
            return _Built(key, _left_out(held.object_id, held.name, f"{error.field}: {error}"))
        except (TallystickError, ValueError) as error:
            return _Built(key, _left_out(held.object_id, held.name, str(error)))
        return _Built(key, *resolved)

    def key_of(self, revision: int, credential_name: str, written: Written) -> tuple[object, ...]:
        """Return what an outcome depends on."""
        return (revision, written.revisions.get(credential_name, 0), written.token, self._price_epoch)

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the file's deployments."""
        return self._of_file

    def keep(self, built: dict[str, _Built], around: Around) -> None:
        """Take the next snapshot's unchanged deployments from these."""
        self._built = built
        self._around = around
        self.prices_until = min((each.prices_until for each in built.values() if each.prices_until), default=None)

    def _has(self, kind: Kind) -> bool:
        return kind in self.kinds

    def _read(self, loaded: Loaded, left_out: list[LeftOut]) -> Written:
        return read_written(
            self.settings, environ=self._environ, loaded=loaded, open_spec=self._sealer.open, left_out=left_out
        )

    def _around_of(self, written: Written) -> Around:
        return Around(
            environment=written.environment,
            credentials=written.credentials,
            costs=written.settings.costs,
            prices=self._price_list,
            now=self._clock.now(),
            timeout_seconds=written.settings.timeout_seconds,
            drop_params=self.settings.upstream.drop_params,
            unknown_providers=self.settings.upstream.unknown_providers or "",
            stream_timeout_seconds=written.settings.stream_timeout_seconds,
            parallel_requests=self.settings.rates.deployment_parallel_requests,
            note_change=self._note_change,
        )

    def _note_change(self, until: datetime | None) -> None:
        """A model of a wildcard group was asked for, whose price holds until then."""
        if until is not None and (self.prices_until is None or until < self.prices_until):
            self.prices_until = until

    def _resolved(self, held: ControlObject, around: Around) -> Resolved:
        candidate = candidate_of_object(held, self._sealer.open(held.kind, held.object_id, held.spec))
        return resolve(candidate, around, shown=masked(held.kind, held.object_id, held.spec))

    def _shown(self, candidate: Candidate) -> dict[str, Any]:  # Any: JSON.
        spec = {"litellm_params": dict(candidate.params), "model_info": dict(candidate.info)}
        return masked(Kind.MODEL, candidate.deployment_id, spec)


class Building:
    """A snapshot in the making. Many deployments take long, so that who has others waiting makes some at a time."""

    def __init__(
        self, builder: SnapshotBuilder, loaded: Loaded, written: Written, around: Around, left_out: list[LeftOut]
    ) -> None:
        self._builder = builder
        self._loaded = loaded
        self._written = written
        self._around = around
        self._left_out = left_out
        models = sorted(
            (held for held in loaded.objects if held.kind == Kind.MODEL),
            key=lambda held: (held.created_at, held.object_id),
        )
        replaced = {held.object_id for held in models}
        self._left: Iterator[Candidate | ControlObject] = chain(
            (each for each in builder.candidates() if each.deployment_id not in replaced), models
        )
        self._built: dict[str, _Built] = {}

    def advance(self, count: int) -> bool:
        """Resolve so many deployments more; False when there are no more."""
        for written in islice(self._left, count):
            place = written.deployment_id if isinstance(written, Candidate) else written.object_id
            self._built[place] = self._one(place, written)
            count -= 1
        return count == 0

    def finish(self) -> Snapshot:
        """Return the snapshot. `advance` said False."""
        outcomes = [built.outcome for built in self._built.values()]
        self._left_out.extend(each for each in outcomes if isinstance(each, LeftOut))
        self._builder.keep(self._built, self._around)
        return assemble(
            (each for each in outcomes if isinstance(each, Deployment)),
            revision=self._loaded.revision,
            objects=self._loaded.objects,
            settings=self._written.settings,
            left_out=self._left_out,
            pass_through=self._builder.pass_through(self._loaded.objects, self._around, self._left_out),
        )

    def _one(self, place: str, written: Candidate | ControlObject) -> _Built:
        builder = self._builder
        if isinstance(written, Candidate):
            key = builder.key_of(0, written.credential_name, self._written)
            return builder.cached(place, key) or builder.of_file(written, key, self._around)
        key = builder.key_of(written.revision, _credential_name(written), self._written)
        return builder.cached(place, key) or builder.of_object(written, key, self._around)


def _credential_name(held: ControlObject) -> str:
    """Return the credential that a deployment names; names are never sealed."""
    params = held.spec.get("litellm_params")
    name = params.get("litellm_credential_name") if isinstance(params, dict) else None
    return name if isinstance(name, str) else ""


def _left_out(deployment_id: str, name: str, reason: str) -> LeftOut:
    return LeftOut(kind=Kind.MODEL, object_id=deployment_id, name=name, reason=reason)


def _check_library(settings: Settings) -> None:
    library = settings.upstream.unknown_providers
    try:
        if library is not None:
            require_library(library)
    except InvalidTarget as error:
        raise ConfigError(str(error), key_path="general_settings.unknown_providers") from error


def _kinds(settings: Settings) -> tuple[Kind, ...]:
    control = settings.control
    chosen = control.supported_db_objects
    kinds = [Kind.ACCESS_GROUP]
    if control.store_model_in_db:
        for name, loaded_with in _LOADED_WITH.items():
            if chosen is None or name in chosen:
                kinds.extend(loaded_with)
    return tuple(kinds)
