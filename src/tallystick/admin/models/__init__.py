"""Deployments over HTTP: what is served, and the writes of those in the database."""

from __future__ import annotations
