"""Gemini's generateContent: requests, answers, streams and usage."""

from __future__ import annotations
