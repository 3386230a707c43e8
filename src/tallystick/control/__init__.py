"""Control objects: deployments, and the immutable snapshot of them that a call keeps."""

from __future__ import annotations
