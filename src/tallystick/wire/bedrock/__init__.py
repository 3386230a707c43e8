"""Bedrock's Converse, and Claude by its invoke: requests, answers, streams and usage."""

from __future__ import annotations
