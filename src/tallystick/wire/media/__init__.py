"""Images, sound, moderations and ranks: bodies that are passed through, and what they are billed by."""

from __future__ import annotations
