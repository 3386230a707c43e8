"""Put deployments together: by model group, by team, by access group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from tallystick.control.deployment import Deployment
from tallystick.control.live_settings import LiveSettings
from tallystick.control.objects import ControlObject, Kind, spec_as
from tallystick.control.pass_through import NO_PASS_THROUGH, PassThrough
from tallystick.control.snapshot import LeftOut, Snapshot
from tallystick.control.specs import AccessGroupSpec
from tallystick.control.wildcards import WildcardGroups, is_wildcard

_Groups = dict[str, list[Deployment]]


def assemble(
    deployments: Iterable[Deployment],
    *,
    revision: int,
    objects: Iterable[ControlObject],
    settings: LiveSettings,
    left_out: list[LeftOut],
    pass_through: PassThrough = NO_PASS_THROUGH,
) -> Snapshot:
    """Return the snapshot. Access groups that can't be read are added to `left_out`."""
    everybodys: _Groups = {}
    of_teams: dict[str, _Groups] = {}
    access_groups: dict[str, set[str]] = {}
    for each in deployments:
        groups = of_teams.setdefault(each.team_id, {}) if each.team_id else everybodys
        groups.setdefault(each.model_group, []).append(each)
        for name in each.access_groups:
            access_groups.setdefault(name, set()).add(each.model_group)
    for held in objects:
        if held.kind == Kind.ACCESS_GROUP:
            _add_access_group(held, access_groups, left_out)
    return Snapshot(
        revision=revision,
        model_groups=_frozen(everybodys),
        team_model_groups={team_id: _frozen(groups) for team_id, groups in of_teams.items()},
        access_groups={name: frozenset(models) for name, models in access_groups.items()},
        wildcards=WildcardGroups(everybodys.items()),
        team_wildcards={
            team_id: WildcardGroups(groups.items())
            for team_id, groups in of_teams.items()
            if any(map(is_wildcard, groups))
        },
        settings=settings,
        pass_through=pass_through,
        left_out=tuple(left_out),
    )


def _frozen(groups: _Groups) -> Mapping[str, tuple[Deployment, ...]]:
    return {name: tuple(members) for name, members in groups.items()}


def _add_access_group(held: ControlObject, access_groups: dict[str, set[str]], left_out: list[LeftOut]) -> None:
    try:
        models = spec_as(AccessGroupSpec, held.spec).models
    except msgspec.ValidationError as error:
        left_out.append(LeftOut(kind=held.kind, object_id=held.object_id, name=held.name, reason=str(error)))
        return
    for name in filter(None, (held.name, held.object_id)):
        access_groups.setdefault(name, set()).update(models)
