"""Signatures of calls to AWS, which need the optional extra `aws`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from tallystick.providers.aws_identity import AWSSigner


def load_aws_signer() -> AWSSigner:
    """Return what signs calls to AWS. Importing it takes long. Raises UpstreamUnreachable where it is not installed."""
    try:
        from tallystick.providers.aws_signing import AWSSigning
    except ImportError as error:
        raise UpstreamUnreachable(
            f"Signed calls to AWS need the package {error.name}: install tallystick[aws]."
        ) from error
    return AWSSigning()
