"""Passwords of the database that expire: whether they are used, and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from tallystick.config.places import Given
from tallystick.config.record import Frozen

_AZURE = "With `azure_postgresql_auth`: "


class DatabaseLoginSettings(Frozen):
    """Which cloud, if any, gives the password of each new connection."""

    aws: Annotated[
        bool,
        Given(
            name="iam_token_db_auth",
            description="Log in at Amazon RDS with IAM tokens, in place of a password. Needs the extra `aws`; "
            "credentials are found as AWS' own tools find them.",
            environment=("IAM_TOKEN_DB_AUTH",),
        ),
    ] = False
    aws_region: Annotated[
        str | None,
        Given(
            name="database_aws_region",
            description="With `iam_token_db_auth`: the region of the database. Default: that of AWS' configuration, "
            "else the one in the host's name.",
            environment=("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
        ),
    ] = None
    azure: Annotated[
        bool,
        Given(
            name="azure_postgresql_auth",
            description="Log in at Azure Database for PostgreSQL with Entra tokens, in place of a password: by a "
            "federated token (AKS), a client secret, or a managed identity, the first that is there.",
            environment=("AZURE_POSTGRESQL_AUTH",),
        ),
    ] = False
    azure_tenant_id: Annotated[
        str | None,
        Given(
            name="azure_tenant_id",
            description=_AZURE + "the tenant, for a client secret or a federated token.",
            environment=("AZURE_TENANT_ID",),
        ),
    ] = None
    azure_client_id: Annotated[
        str | None,
        Given(
            name="azure_client_id",
            description=_AZURE + "the application, or the managed identity where there are several.",
            environment=("AZURE_CLIENT_ID",),
        ),
    ] = None
    azure_client_secret: Annotated[
        str | None,
        Field(repr=False),
        Given(
            name="azure_client_secret",
            description=_AZURE + "the application's secret.",
            environment=("AZURE_CLIENT_SECRET",),
            refers=True,
        ),
    ] = None
    azure_federated_token_file: Annotated[
        Path | None,
        Given(
            name="azure_federated_token_file",
            description=_AZURE + "the file with the federated token of a workload.",
            environment=("AZURE_FEDERATED_TOKEN_FILE",),
        ),
    ] = None
    azure_authority_host: Annotated[
        str,
        Given(
            name="azure_authority_host",
            description=_AZURE + "who issues tokens for a client secret or a federated token.",
            environment=("AZURE_AUTHORITY_HOST",),
        ),
    ] = "https://login.microsoftonline.com"
    azure_identity_endpoint: Annotated[
        str | None,
        Given(
            name="azure_identity_endpoint",
            description=_AZURE + "where a managed identity's tokens are got on App Service and Container Apps; "
            "elsewhere the machine's own address for that is asked.",
            environment=("IDENTITY_ENDPOINT",),
        ),
    ] = None
    azure_identity_header: Annotated[
        str | None,
        Field(repr=False),
        Given(
            name="azure_identity_header",
            description=_AZURE + "the secret that goes with `azure_identity_endpoint`.",
            environment=("IDENTITY_HEADER",),
            refers=True,
        ),
    ] = None

    @property
    def is_used(self) -> bool:
        return self.aws or self.azure

    @model_validator(mode="after")
    def _check_one(self) -> DatabaseLoginSettings:
        if self.aws and self.azure:
            raise ValueError("iam_token_db_auth and azure_postgresql_auth can't both be on")
        return self
