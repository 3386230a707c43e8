"""The user behind a new membership: found by id or email, or made when nobody has them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tallystick.access.users import UserSpec
from tallystick.control.objects import ControlObject, Kind, ObjectRef, spec_from
from tallystick.control.store import ControlStore, ObjectFilter
from tallystick.errors import BadRequest, NotFound
from tallystick.runtime.ids import new_event_id


class FoundUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user, and whether it is still to be written."""

    user: ControlObject
    is_new: bool = False


async def find_or_make_user(store: ControlStore, *, user_id: str, user_email: str, now: datetime) -> FoundUser:
    """Return the user with this id or this email; one that nobody has is made, but not written.

    Raises BadRequest when neither is given, several users have the email, or the two belong to different users.
    """
    if not user_id and not user_email:
        raise BadRequest("A member needs a 'user_id' or a 'user_email'.", param="member")
    known = await store.find(ObjectRef(Kind.USER, user_id)) if user_id else None
    with_email = await _user_with_email(store, user_email) if user_email else None
    if user_id and with_email is not None and with_email.object_id != user_id:
        raise BadRequest(
            f"'{user_id}' and '{user_email}' do not belong to the same user: name the member by one of them.",
            param="member",
        )
    found = known or with_email
    if found is not None:
        return FoundUser(user=found)
    made = ControlObject(
        kind=Kind.USER,
        object_id=user_id or new_event_id(now),
        name=user_email,
        spec=spec_from(UserSpec()),
        created_at=now,
        updated_at=now,
    )
    return FoundUser(user=made, is_new=True)


async def existing_user_id(store: ControlStore, *, user_id: str, user_email: str) -> str:
    """Return the id of a user who is named by id or email. Raises BadRequest, NotFound."""
    if user_id:
        return user_id
    if not user_email:
        raise BadRequest("Name the member by 'user_id' or 'user_email'.", param="user_id")
    found = await _user_with_email(store, user_email)
    if found is None:
        raise NotFound(f"User not found: nobody has the email '{user_email}'.", param="user_email")
    return found.object_id


async def _user_with_email(store: ControlStore, user_email: str) -> ControlObject | None:
    page = await store.list_objects(ObjectFilter(kind=Kind.USER, names=(user_email,)), limit=2)
    if page.total_count > 1:
        raise BadRequest(
            f"Multiple users found with the email '{user_email}': name the member by 'user_id'.", param="user_email"
        )
    return page.objects[0] if page.objects else None
