"""Every column that can hold text, of every table, of every engine: may it hold secrets, and if not, why.

Rotation goes through the columns that do. A test reads the schemas and fails when one is in no line here: whoever adds
a column decides here what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SEALED: Final = frozenset({("control_objects", "spec")})
"""Columns with sealed values in them, by table and name: `rotation.SpecStore` reads and replaces all of them."""

_NAMES: Final = "names and ids, which reports group by and pages show"
_HASHES: Final = "hashes of keys of 256 random bits; nobody gets the key from them"
_WORDS: Final = "one of a few words of ours"
_MASKED: Final = "objects as they are shown: `secret_fields.masked` before they are written"
_UPSTREAMS: Final = "what the upstream said of the file or batch to the caller whose it is: ids, counts and names"
_NUMBERS: Final = "numbers and times"
_SEARCH: Final = "pieces of names and ids, for the search"

WITHOUT_SECRETS: Final[Mapping[str, Mapping[str, str]]] = {
    "audit_log": {
        "audit_id action kind": _WORDS,
        "key_hash": _HASHES,
        "user_id changed_by object_id": _NAMES,
        "before after": _MASKED,
    },
    "batch_jobs": {
        "state": _WORDS,
        "job_id deployment_id upstream_id user_id team_id event_id": _NAMES,
        "key_hash": _HASHES,
        "template": "the beginnings of a spend event; what its columns may hold is said there",
        "answer": _UPSTREAMS,
    },
    "budget_aliases": {"scope_type": _WORDS, "entity_id scope_id": _NAMES},
    "budget_leases": {"scope_type": _WORDS, "scope_id member_id model holder": _NAMES},
    "budget_windows": {"scope_type": _WORDS, "scope_id member_id model wanted_by": _NAMES},
    "change_feed": {"kind": _WORDS, "object_id": _NAMES},
    "control_objects": {
        "kind": _WORDS,
        "object_id name name_lower id_lower organization_id team_id user_id budget_id": _NAMES,
        "created_by updated_by deleted_by": _NAMES,
    },
    "control_search": {"grams control_search rank": _SEARCH},
    "daily_entity_spend": {"entity_type entity_id day model_group model provider endpoint": _NAMES},
    "daily_spend": {
        "key_hash": _HASHES,
        "day user_id team_id organization_id model_group model provider endpoint tool": _NAMES,
    },
    "dead_letters": {
        "event_id": _NAMES,
        "reason": "what the database said, without the values",
        "payload": "one spend event; what its columns may hold is said there",
    },
    "instances": {"instance_id host producer_id": _NAMES, "version": "ours"},
    "kept_files": {
        "file_no deployment_id upstream_id user_id team_id": _NAMES,
        "key_hash": _HASHES,
        "purpose": _WORDS,
        "held": "whose the file is, at which deployment, and how many calls and tokens are in it",
        "answer": _UPSTREAMS,
    },
    "leaderships": {"name": _WORDS, "holder": "a host, a process and a random part: who leads, for pages and logs"},
    "ledger_head": {"ledger_id": "random; it tells ledgers apart, and opens nothing"},
    "producers": {"producer_id": _NAMES},
    "schema_migrations": {"name": _NAMES, "checksum": "a hash of a file of ours"},
    "spend_events": {
        "event_id call_type endpoint status usage_source cost_status": _WORDS,
        "error_code error_class error_message": "what we or the provider said to the caller",
        "key_hash": _HASHES,
        "key_alias user_id team_id organization_id end_user_id session_id tags model_group model": _NAMES,
        "deployment_id provider tool price_version provider_response_id requester_ip user_agent body_ref": _NAMES,
        "api_base": "an address; a login in it is taken out before it can be called",
        "attempts": "deployments, statuses and costs of a call",
        "usage_other cost_breakdown": _NUMBERS,
        "metadata": "what callers say about their own calls; no configuration of ours gets there",
    },
    "totals": {"entity_type": _WORDS, "entity_id member_id": _NAMES},
}
"""By table: columns, and why no secret of ours can be in them."""


def is_classified(table: str, column: str) -> bool:
    """Whether somebody decided what a column may hold."""
    lines = WITHOUT_SECRETS.get(table, {})
    return (table, column) in SEALED or any(column in columns.split() for columns in lines)
