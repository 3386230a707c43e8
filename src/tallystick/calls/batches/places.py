"""Where files and batches are."""

from __future__ import annotations

from tallystick.control.deployment import Deployment
from tallystick.control.snapshot import Snapshot
from tallystick.errors import NotFound


def deployment_of(snapshot: Snapshot, deployment_id: str, model_group: str, team_id: str) -> Deployment:
    """Return the deployment that has a file or a batch. Raises NotFound when it is not there any more."""
    for each in snapshot.find(model_group, team_id=team_id):
        if each.deployment_id == deployment_id:
            return each
    raise NotFound(f"The deployment of '{model_group[:256]}' that has this is not there any more.")
