"""The data plane: OpenAI's endpoints as plain ASGI, streams, errors."""

from __future__ import annotations
