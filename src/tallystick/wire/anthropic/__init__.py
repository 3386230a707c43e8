"""Anthropic's messages: requests, answers, streams and usage."""

from __future__ import annotations
