"""What can be managed: for each noun its requests, the options for its usual fields, and the columns of its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FieldType = Literal["text", "texts", "number", "integer", "object", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An option of `create` and `update`, and the field of the request that it fills in; dots lead into objects."""

    option: str
    path: str
    type: FieldType = "text"
    help: str
    on_update: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """An option of `list`, and the parameter that it fills in."""

    option: str
    parameter: str
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table: its title, and where its value is in an object of the answer."""

    title: str
    path: str
    is_money: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Noun:
    """One kind of things. `{id}` in a path is the thing's id."""

    name: str
    one: str
    article: str = "a"
    fields: tuple[Field, ...]
    filters: tuple[Filter, ...] = ()
    columns: tuple[Column, ...]
    id_field: str
    """Where an object of the list, and the answer to `create`, have the id."""
    create_path: str
    list_path: str
    list_rows: str = ""
    """Under which name the answer of the list has the objects; '' when it is a bare array."""
    list_total: str = ""
    size_parameter: str = "size"
    list_query: tuple[tuple[str, str], ...] = ()
    show_path: str
    show_parameter: str
    show_part: str = ""
    """Under which name the answer to `show` has the object itself; '' when it is all of it."""
    update_method: str = "POST"
    update_path: str
    update_field: str
    """The field of the update's body that names the thing; '' when the path does."""
    delete_method: str = "POST"
    delete_path: str
    delete_field: str
    deletes_many: bool = True
    secret: str = ""
    """The field of the answer to `create` that is shown this once."""


_MODELS: Final = Field(
    option="--models", path="models", type="texts", help="Models that may be called, with commas; none means all."
)
_LIMITS: Final = (
    Field(option="--max-budget", path="max_budget", type="number", help="USD that may be spent in a window."),
    Field(option="--budget-duration", path="budget_duration", help="Length of the window: 24h, 7d, 30d, 1mo."),
    Field(option="--tpm-limit", path="tpm_limit", type="integer", help="Tokens a minute."),
    Field(option="--rpm-limit", path="rpm_limit", type="integer", help="Requests a minute."),
)
_METADATA: Final = Field(option="--metadata", path="metadata", type="object", help="A JSON object of your own.")
_SPEND: Final = Column(title="spend", path="spend", is_money=True)
_BUDGET: Final = Column(title="budget", path="max_budget", is_money=True)
_CREATED: Final = Column(title="created", path="created_at")

KEYS: Final = Noun(
    name="keys",
    one="key",
    fields=(
        Field(option="--alias", path="key_alias", help="A name for people; no two keys share one."),
        Field(option="--user", path="user_id", help="The user to whom its spend is attributed."),
        Field(option="--team", path="team_id", help="The team to which its spend is attributed."),
        Field(option="--organization", path="organization_id", help="The organization of its spend."),
        _MODELS,
        Field(option="--tags", path="tags", type="texts", help="Tags of all of its calls, with commas."),
        Field(option="--duration", path="duration", help="How long it is good for: 30s, 15m, 24h, 30d, 2w, 1mo."),
        *_LIMITS,
        _METADATA,
    ),
    filters=(
        Filter(option="--alias", parameter="key_alias", help="Only the key with this alias."),
        Filter(option="--user", parameter="user_id", help="Only keys of this user."),
        Filter(option="--team", parameter="team_id", help="Only keys of this team."),
        Filter(option="--organization", parameter="organization_id", help="Only keys of this organization."),
    ),
    columns=(
        Column(title="key", path="key_name"),
        Column(title="alias", path="key_alias"),
        Column(title="user", path="user_id"),
        Column(title="team", path="team_id"),
        Column(title="models", path="models"),
        _SPEND,
        _CREATED,
        Column(title="expires", path="expires"),
        Column(title="blocked", path="blocked"),
    ),
    id_field="token",
    create_path="/key/generate",
    list_path="/key/list",
    list_rows="keys",
    list_total="total_count",
    list_query=(("return_full_object", "true"),),
    show_path="/key/info",
    show_parameter="key",
    show_part="info",
    update_path="/key/update",
    update_field="key",
    delete_path="/key/delete",
    delete_field="keys",
    secret="key",  # noqa: S106  # The name of a field.
)
TEAMS: Final = Noun(
    name="teams",
    one="team",
    fields=(
        Field(option="--id", path="team_id", help="Its id; one is made without it.", on_update=False),
        Field(option="--alias", path="team_alias", help="A name for people."),
        Field(option="--organization", path="organization_id", help="The organization to which it belongs."),
        _MODELS,
        *_LIMITS,
        _METADATA,
    ),
    filters=(
        Filter(option="--organization", parameter="organization_id", help="Only teams of this organization."),
        Filter(option="--user", parameter="user_id", help="Only teams of this user."),
    ),
    columns=(
        Column(title="team", path="team_id"),
        Column(title="alias", path="team_alias"),
        Column(title="organization", path="organization_id"),
        Column(title="models", path="models"),
        _SPEND,
        _BUDGET,
        Column(title="blocked", path="blocked"),
        _CREATED,
    ),
    id_field="team_id",
    create_path="/team/new",
    list_path="/v2/team/list",
    list_rows="teams",
    list_total="total",
    size_parameter="page_size",
    show_path="/team/info",
    show_parameter="team_id",
    show_part="team_info",
    update_path="/team/update",
    update_field="team_id",
    delete_path="/team/delete",
    delete_field="team_ids",
)
USERS: Final = Noun(
    name="users",
    one="user",
    fields=(
        Field(option="--id", path="user_id", help="Its id; one is made without it.", on_update=False),
        Field(option="--email", path="user_email", help="Its email."),
        Field(option="--alias", path="user_alias", help="A name for people."),
        Field(
            option="--role",
            path="user_role",
            help="proxy_admin, proxy_admin_viewer, internal_user or internal_user_viewer.",
        ),
        Field(option="--teams", path="teams", type="texts", help="Teams to join, with commas.", on_update=False),
        Field(
            option="--key", path="auto_create_key", type="flag", help="Make a key too (the API does).", on_update=False
        ),
        _MODELS,
        *_LIMITS,
        _METADATA,
    ),
    filters=(Filter(option="--role", parameter="role", help="Only users with this role."),),
    columns=(
        Column(title="user", path="user_id"),
        Column(title="email", path="user_email"),
        Column(title="alias", path="user_alias"),
        Column(title="role", path="user_role"),
        Column(title="models", path="models"),
        _SPEND,
        _BUDGET,
        _CREATED,
    ),
    id_field="user_id",
    create_path="/user/new",
    list_path="/user/list",
    list_rows="users",
    list_total="total",
    size_parameter="page_size",
    show_path="/user/info",
    show_parameter="user_id",
    show_part="user_info",
    update_path="/user/update",
    update_field="user_id",
    delete_path="/user/delete",
    delete_field="user_ids",
    secret="key",  # noqa: S106  # The name of a field.
)
ORGANIZATIONS: Final = Noun(
    name="orgs",
    one="organization",
    article="an",
    fields=(
        Field(option="--id", path="organization_id", help="Its id; one is made without it.", on_update=False),
        Field(option="--alias", path="organization_alias", help="A name for people; needed to create one."),
        Field(option="--budget-id", path="budget_id", help="A shared budget, instead of limits of its own."),
        _MODELS,
        *_LIMITS,
        _METADATA,
    ),
    filters=(Filter(option="--alias", parameter="org_alias", help="A part of the alias."),),
    columns=(
        Column(title="organization", path="organization_id"),
        Column(title="alias", path="organization_alias"),
        Column(title="models", path="models"),
        _SPEND,
        Column(title="budget", path="litellm_budget_table.max_budget", is_money=True),
        _CREATED,
    ),
    id_field="organization_id",
    create_path="/organization/new",
    list_path="/organization/list",
    show_path="/organization/info",
    show_parameter="organization_id",
    update_method="PATCH",
    update_path="/organization/update",
    update_field="organization_id",
    delete_method="DELETE",
    delete_path="/organization/delete",
    delete_field="organization_ids",
)
MODELS: Final = Noun(
    name="models",
    one="model",
    fields=(
        Field(option="--name", path="model_name", help="The model group: what callers ask for."),
        Field(option="--model", path="litellm_params.model", help="The upstream model, as in openai/gpt-4o-mini."),
        Field(option="--api-base", path="litellm_params.api_base", help="The upstream's address."),
        Field(
            option="--provider-key",
            path="litellm_params.api_key",
            help="The upstream's key; better a reference such as os.environ/OPENAI_API_KEY.",
        ),
        Field(option="--credential", path="litellm_params.litellm_credential_name", help="A credential, by its name."),
        Field(option="--id", path="model_info.id", help="Its id; one is made without it.", on_update=False),
        Field(option="--team", path="model_info.team_id", help="The only team that may call it.", on_update=False),
    ),
    columns=(
        Column(title="id", path="model_info.id"),
        Column(title="model group", path="model_name"),
        Column(title="upstream model", path="litellm_params.model"),
        Column(title="from database", path="model_info.db_model"),
    ),
    id_field="model_info.id",
    create_path="/model/new",
    list_path="/v2/model/info",
    list_rows="data",
    list_total="total_count",
    show_path="/model/info",
    show_parameter="litellm_model_id",
    show_part="data",
    update_method="PATCH",
    update_path="/model/{id}/update",
    update_field="",
    delete_path="/model/delete",
    delete_field="id",
    deletes_many=False,
)
