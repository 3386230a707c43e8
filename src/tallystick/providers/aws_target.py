"""How a deployment on AWS is called: region, address and identity, from its parameters and the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final, NamedTuple

from tallystick.providers.aws_identity import AWSIdentity
from tallystick.providers.base import InvalidTarget

AWS_IDENTITY: Final = "aws_identity"
"""Option of a Target: who its calls are signed as. Without it, its headers say who calls."""

_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d+")
_ARN_REGION: Final = re.compile(r"arn:[^:]+:[^:]+:(?P<region>[a-z0-9-]+):")
_REGION_VARIABLES: Final = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION")
_ROUTES: Final = ("converse/", "invoke/")
"""How LiteLLM's names may begin: all calls go by Converse here."""


class BedrockPlace(NamedTuple):
    """Where a deployment's calls go."""

    model: str
    api_base: str
    token: str
    """A bearer token, which makes signatures needless."""
    identity: AWSIdentity | None


def bedrock_place(
    model: str,
    *,
    api_key: str,
    api_base: str,
    params: Mapping[str, str],
    environment: Mapping[str, str],
) -> BedrockPlace:
    """Resolve a deployment on Bedrock; `params` are those of `litellm_params` whose names begin with `aws_`.

    Raises InvalidTarget that says what would be right.
    """
    region_in_name = ""
    for route in _ROUTES:
        model = model.removeprefix(route)
    first, slash, rest = model.partition("/")
    if slash and _REGION.fullmatch(first):
        region_in_name, model = first, rest
    arn = _ARN_REGION.match(model)
    region = (
        params.get("aws_region_name")
        or region_in_name
        or (arn["region"] if arn is not None else "")
        or next((environment[name] for name in _REGION_VARIABLES if environment.get(name)), "")
    )
    if not _REGION.fullmatch(region):
        reason = f"{region!r} is no region" if region else "bedrock needs a region"
        raise InvalidTarget("aws_region_name", f"{reason}: set aws_region_name, such as us-east-1, or AWS_REGION_NAME")
    base = (
        params.get("aws_bedrock_runtime_endpoint")
        or api_base
        or environment.get("AWS_BEDROCK_RUNTIME_ENDPOINT")
        or f"https://bedrock-runtime.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    )
    identity = _identity(params, region=region, environment=environment)
    names_own = any((identity.profile_name, identity.role_arn, params.get("aws_access_key_id")))
    token = api_key or ("" if names_own else environment.get("AWS_BEARER_TOKEN_BEDROCK", ""))
    if token:
        return BedrockPlace(model, base, token, None)
    if find_spec("botocore") is None:
        raise InvalidTarget(
            "api_key",
            "signed calls to bedrock need the package botocore: install tallystick[aws], or set api_key "
            "or AWS_BEARER_TOKEN_BEDROCK to a bearer token",
        )
    return BedrockPlace(model, base, "", identity)


def _identity(params: Mapping[str, str], *, region: str, environment: Mapping[str, str]) -> AWSIdentity:
    """Keys of the deployment win over a profile, and that over keys in the environment; else it is AWS' own chain."""
    access = params.get("aws_access_key_id", "")
    secret = params.get("aws_secret_access_key", "")
    session = params.get("aws_session_token", "")
    if bool(access) != bool(secret):
        missing = "aws_secret_access_key" if access else "aws_access_key_id"
        raise InvalidTarget(missing, f"{missing} is missing: an access key has two parts")
    profile = "" if access else params.get("aws_profile_name", "")
    if not access and not profile:
        access, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
        session = environment.get("AWS_SESSION_TOKEN", "")
        if not access or not secret:
            access = secret = session = ""
    return AWSIdentity(
        access_key_id=access,
        secret_access_key=secret,
        session_token=session,
        profile_name=profile,
        role_arn=params.get("aws_role_name", ""),
        role_session_name=params.get("aws_session_name", ""),
        region=region,
    )
