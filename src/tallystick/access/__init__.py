"""Who is calling and what they may do: virtual keys, principals, authentication."""

from __future__ import annotations
