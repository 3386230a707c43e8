"""Requests in OpenAI's dialect: checked at the edge, otherwise kept as the caller sent them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tallystick.errors import BadRequest

Endpoint = Literal["chat/completions", "completions", "embeddings"]
