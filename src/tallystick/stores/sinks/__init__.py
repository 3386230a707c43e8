"""Sinks: webhooks, Supabase, DynamoDB and object storage."""

from __future__ import annotations
