"""One adapter per upstream family. `base.Provider` is the seam; `transport` wraps the HTTP client."""

from __future__ import annotations
