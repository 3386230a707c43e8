"""Lists of control objects on PostgreSQL: conditions, order, one page and the number of all, in one statement."""

from __future__ import annotations

from typing import Any

from tallystick.control.store import ObjectFilter, ObjectPage, SortField
from tallystick.stores.grams import wanted_words
from tallystick.stores.postgres.control_rows import object_of
from tallystick.stores.postgres.database import PostgresDatabase
from tallystick.stores.postgres.texts import holdable, holdable_only

_NULLABLE: frozenset[SortField] = frozenset({"expires_at"})


class ControlLists:
    """Reads pages."""

    def __init__(self, *, database: PostgresDatabase) -> None:
        self._database = database
        self._queries = database.queries

    async def page(
        self, where: ObjectFilter, *, sort_by: SortField, descending: bool, offset: int, limit: int
    ) -> ObjectPage:
        """Return one page, as of one moment."""
        asked = self.statement(where, sort_by=sort_by, descending=descending, offset=offset, limit=limit)
        if asked is None:
            return ObjectPage(objects=(), total_count=0)
        statement, values = asked
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement, *values)
        found = tuple(object_of(row) for row in rows if row["kind"] is not None)
        return ObjectPage(objects=found, total_count=rows[0]["total_count"])

    def statement(
        self, where: ObjectFilter, *, sort_by: SortField, descending: bool, offset: int, limit: int
    ) -> tuple[str, list[Any]] | None:
        """Return the statement of a page and its values; None when nothing can match. Any: text, lists, numbers."""
        filters = _Filters(self._database, first_parameter=4)
        if not filters.add(where):
            return None
        statement = self._queries["search_objects" if where.search else "list_objects"].format(
            column=sort_by,
            living=self._queries["objects_deleted" if where.deleted else "objects_living"],
            filters=filters.text(),
            order=self._order(sort_by, descending=descending),
        )
        return statement, [where.kind, limit, offset, *filters.values]

    def _order(self, sort_by: SortField, *, descending: bool) -> str:
        name = "objects_descending" if descending else "objects_ascending"
        if sort_by in _NULLABLE:
            name += "_where_absent_is_least"
        return self._queries[name].format(column=sort_by)


class _Filters:
    """Conditions in SQL, and the values of their parameters."""

    def __init__(self, database: PostgresDatabase, *, first_parameter: int) -> None:
        self._queries = database.queries
        self._first_parameter = first_parameter
        self._conditions: list[str] = []
        self.values: list[Any] = []  # Any: text and lists of text.

    def add(self, where: ObjectFilter) -> bool:
        """Add what is asked for; False when nothing can match, because the database can't hold such a text."""
        columns = {
            "object_id": where.object_ids,
            "name": where.names,
            "organization_id": where.organization_ids,
            "team_id": where.team_ids,
            "user_id": where.user_ids,
            "budget_id": where.budget_ids,
        }
        for column, wanted in columns.items():
            if wanted is not None:
                self._condition("objects_filter_by", column=column, value=self._value(holdable_only(wanted)))
        if where.within is not None:
            scope = where.within
            self._condition(
                "objects_filter_within",
                user_ids=self._value(holdable_only(scope.user_ids)),
                team_ids=self._value(holdable_only(scope.team_ids)),
                organization_ids=self._value(holdable_only(scope.organization_ids)),
                object_ids=self._value(holdable_only(scope.object_ids)),
            )
        if where.created_by is not None:
            self._condition("objects_filter_created_by", value=self._value(where.created_by))
        if where.search:
            self._search(where, where.search.lower())
        return holdable(where.created_by or "") and holdable(where.search or "")

    def text(self) -> str:
        return " AND ".join(self._conditions) or self._queries["objects_filter_none"]

    def _search(self, where: ObjectFilter, needle: str) -> None:
        if holdable(needle):
            words = wanted_words(where.kind, needle, prefix_mark=":*")
            self._condition("objects_filter_search", grams=self._value(" & ".join(words)), needle=self._value(needle))

    def _condition(self, name: str, **parts: str) -> None:
        self._conditions.append(self._queries[name].format(**parts))

    def _value(self, value: Any) -> str:  # Any: text and lists of text.
        self.values.append(value)
        return f"${self._first_parameter + len(self.values) - 1}"
