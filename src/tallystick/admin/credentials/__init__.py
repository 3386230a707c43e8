"""Credentials over HTTP: parameters that deployments share by name."""

from __future__ import annotations
