"""The table of routes: each with the rule that says which roles may use it. It reads like an authorization matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tallystick.admin.authorization import (
    ADMINS,
    ADMINS_AND_VIEWERS,
    EVERYONE,
    KEY_WRITERS,
    MODEL_WRITERS,
    ORGANIZATION_WRITERS,
    READERS,
    TEAM_OWNERS,
    TEAM_WRITERS,
    Rule,
)

_GET, _POST, _PUT, _PATCH, _DELETE = "GET", "POST", "PUT", "PATCH", "DELETE"

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    # Virtual keys
    (_POST, "/key/generate"): KEY_WRITERS,
    (_POST, "/key/service-account/generate"): KEY_WRITERS,
    (_POST, "/key/update"): KEY_WRITERS,
    (_POST, "/key/bulk_update"): KEY_WRITERS,
    (_POST, "/key/delete"): KEY_WRITERS,
    (_POST, "/key/regenerate"): KEY_WRITERS,
    (_POST, "/key/{key}/regenerate"): KEY_WRITERS,
    (_POST, "/key/{key}/reset_spend"): KEY_WRITERS,
    (_POST, "/key/block"): KEY_WRITERS,
    (_POST, "/key/unblock"): KEY_WRITERS,
    (_POST, "/key/health"): EVERYONE,
    (_GET, "/key/info"): READERS,
    (_POST, "/v2/key/info"): READERS,
    (_GET, "/key/list"): READERS,
    (_GET, "/key/aliases"): READERS,
    # Users
    (_POST, "/user/new"): ADMINS,
    (_POST, "/user/update"): READERS,
    (_POST, "/user/bulk_update"): ADMINS,
    (_POST, "/user/delete"): ADMINS,
    (_GET, "/user/info"): READERS,
    (_GET, "/v2/user/info"): READERS,
    (_GET, "/user/list"): ADMINS_AND_VIEWERS,
    # Teams
    (_POST, "/team/new"): TEAM_OWNERS,
    (_POST, "/team/update"): TEAM_OWNERS,
    (_PATCH, "/team/{team_id}"): TEAM_OWNERS,
    (_POST, "/team/delete"): TEAM_OWNERS,
    (_POST, "/team/block"): TEAM_OWNERS,
    (_POST, "/team/unblock"): TEAM_OWNERS,
    (_POST, "/team/model/add"): ADMINS,
    (_POST, "/team/model/delete"): ADMINS,
    (_POST, "/team/member_add"): TEAM_WRITERS,
    (_POST, "/team/bulk_member_add"): TEAM_WRITERS,
    (_POST, "/team/member_update"): TEAM_WRITERS,
    (_POST, "/team/member_delete"): TEAM_WRITERS,
    (_POST, "/team/{team_id}/member/{user_id}/reset_spend"): TEAM_WRITERS,
    (_GET, "/team/permissions_list"): READERS,
    (_POST, "/team/permissions_update"): TEAM_WRITERS,
    (_POST, "/team/permissions_bulk_update"): ADMINS,
    (_GET, "/team/info"): READERS,
    (_GET, "/team/list"): READERS,
    (_GET, "/v2/team/list"): READERS,
    (_GET, "/team/available"): READERS,
    # Organizations
    (_POST, "/organization/new"): ADMINS,
    (_PATCH, "/organization/update"): ORGANIZATION_WRITERS,
    (_PATCH, "/v2/organization/{organization_id}"): ORGANIZATION_WRITERS,
    (_DELETE, "/organization/delete"): ADMINS,
    (_GET, "/organization/info"): READERS,
    (_POST, "/organization/info"): READERS,
    (_GET, "/organization/list"): READERS,
    (_POST, "/organization/member_add"): ORGANIZATION_WRITERS,
    (_PATCH, "/organization/member_update"): ORGANIZATION_WRITERS,
    (_DELETE, "/organization/member_delete"): ORGANIZATION_WRITERS,
    # Budgets, customers, tags
    **{
        route: rule
        for prefix in ("/customer", "/end_user")
        for route, rule in {
            (_POST, f"{prefix}/new"): ADMINS,
            (_POST, f"{prefix}/update"): ADMINS,
            (_POST, f"{prefix}/delete"): ADMINS,
            (_POST, f"{prefix}/block"): ADMINS,
            (_POST, f"{prefix}/unblock"): ADMINS,
            (_GET, f"{prefix}/info"): ADMINS_AND_VIEWERS,
            (_GET, f"{prefix}/list"): ADMINS_AND_VIEWERS,
        }.items()
    },
    (_POST, "/tag/new"): ADMINS,
    (_POST, "/tag/update"): ADMINS,
    (_POST, "/tag/delete"): ADMINS,
    (_POST, "/tag/info"): ADMINS_AND_VIEWERS,
    (_GET, "/tag/list"): ADMINS_AND_VIEWERS,
    (_POST, "/budget/new"): ADMINS,
    (_POST, "/budget/update"): ADMINS,
    (_POST, "/budget/info"): ADMINS_AND_VIEWERS,
    (_POST, "/budget/delete"): ADMINS,
    (_GET, "/budget/list"): ADMINS_AND_VIEWERS,
    (_GET, "/budget/settings"): ADMINS_AND_VIEWERS,
    # Models
    (_POST, "/model/new"): MODEL_WRITERS,
    (_POST, "/model/update"): MODEL_WRITERS,
    (_PATCH, "/model/{model_id}/update"): MODEL_WRITERS,
    (_POST, "/model/delete"): MODEL_WRITERS,
    (_POST, "/model/block"): MODEL_WRITERS,
    (_POST, "/model/unblock"): MODEL_WRITERS,
    (_GET, "/model/info"): EVERYONE,
    (_GET, "/v1/model/info"): EVERYONE,
    (_GET, "/v2/model/info"): EVERYONE,
    (_GET, "/model_group/info"): EVERYONE,
    # Credentials, access groups
    (_POST, "/credentials"): ADMINS,
    (_GET, "/credentials"): ADMINS_AND_VIEWERS,
    (_GET, "/credentials/by_name/{credential_name:path}"): ADMINS_AND_VIEWERS,
    (_GET, "/credentials/by_model/{model_id:path}"): ADMINS_AND_VIEWERS,
    (_GET, "/credentials/{credential_name:path}"): ADMINS_AND_VIEWERS,
    (_PATCH, "/credentials/{credential_name:path}"): ADMINS,
    (_DELETE, "/credentials/{credential_name:path}"): ADMINS,
    (_POST, "/access_group/new"): ADMINS,
    (_GET, "/access_group/list"): ADMINS_AND_VIEWERS,
    (_GET, "/access_group/{access_group:path}/info"): ADMINS_AND_VIEWERS,
    (_PUT, "/access_group/{access_group:path}/update"): ADMINS,
    (_DELETE, "/access_group/{access_group:path}/delete"): ADMINS,
    (_POST, "/v1/access_group"): ADMINS,
    (_GET, "/v1/access_group"): ADMINS_AND_VIEWERS,
    (_GET, "/v1/access_group/{access_group_id}"): ADMINS_AND_VIEWERS,
    (_PUT, "/v1/access_group/{access_group_id}"): ADMINS,
    (_DELETE, "/v1/access_group/{access_group_id}"): ADMINS,
    # Settings
    (_POST, "/config/update"): ADMINS,
    (_GET, "/config/list"): ADMINS_AND_VIEWERS,
    (_GET, "/config/field/info"): ADMINS_AND_VIEWERS,
    (_POST, "/config/field/update"): ADMINS,
    (_POST, "/config/field/delete"): ADMINS,
    (_GET, "/config/cost_discount_config"): ADMINS_AND_VIEWERS,
    (_PATCH, "/config/cost_discount_config"): ADMINS,
    (_GET, "/config/cost_margin_config"): ADMINS_AND_VIEWERS,
    (_PATCH, "/config/cost_margin_config"): ADMINS,
    (_GET, "/get/config/callbacks"): ADMINS_AND_VIEWERS,
    # Audit
    (_GET, "/audit"): ADMINS_AND_VIEWERS,
    (_GET, "/audit/{audit_id}"): ADMINS_AND_VIEWERS,
    # The ledger
    (_GET, "/ledger/events"): ADMINS_AND_VIEWERS,
    (_GET, "/spend/logs"): READERS,
}

READING_POSTS: Final = frozenset(
    (
        "/v2/key/info",
        "/key/health",
        "/organization/info",
        "/budget/info",
        "/tag/info",
        "/spend/calculate",
    )
)
"""Routes that change nothing though they are asked by POST: a key that may only read may use them."""
