"""Cohere's chat and embeddings: requests, answers, streams and usage."""

from __future__ import annotations
