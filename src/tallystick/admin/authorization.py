"""Who may use which route of the admin API: one table, denied by default.

Each row says, for every role, whether the route is open to it (`yes`), whether the handler decides by the target
(`target`: its own key, a team of which it is admin, its organization …), or not at all (`no`, answered with 401, as
LiteLLM's clients expect). A route without a row is refused.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from tallystick.access.users import Role

Access = Literal["yes", "target", "no"]
YES: Final = "yes"
TARGET: Final = "target"
NO: Final = "no"


class Rule(msgspec.Struct, frozen=True):
    """One row: access by role. A key without a user counts as `user`."""

    proxy_admin: Access
    viewer: Access
    org_admin: Access
    user: Access
    user_viewer: Access

    def of(self, role: Role) -> Access:
        match role:
            case Role.PROXY_ADMIN:
                return self.proxy_admin
            case Role.PROXY_ADMIN_VIEWER:
                return self.viewer
            case Role.ORG_ADMIN:
                return self.org_admin
            case Role.INTERNAL_USER:
                return self.user
            case Role.INTERNAL_USER_VIEWER:
                return self.user_viewer


#                             proxy_admin viewer  org_admin user    user_viewer
EVERYONE: Final = Rule(YES, YES, YES, YES, YES)
ADMINS: Final = Rule(YES, NO, NO, NO, NO)
ADMINS_AND_VIEWERS: Final = Rule(YES, YES, NO, NO, NO)
# Keys: their owners, admins of their team, members with the permission.
KEY_WRITERS: Final = Rule(YES, NO, NO, TARGET, NO)
READERS: Final = Rule(YES, YES, TARGET, TARGET, TARGET)
# Teams: proxy admins and the admins of the team's organization, of whom any user may be one.
TEAM_OWNERS: Final = Rule(YES, NO, TARGET, TARGET, NO)
TEAM_WRITERS: Final = Rule(YES, NO, TARGET, TARGET, NO)
# Organizations: proxy admins, and the organization's own admins, whatever their role in the whole gateway is.
ORGANIZATION_WRITERS: Final = Rule(YES, NO, TARGET, TARGET, NO)
# Models: proxy admins; the handler refuses all others with 403.
MODEL_WRITERS: Final = Rule(YES, TARGET, TARGET, TARGET, TARGET)
