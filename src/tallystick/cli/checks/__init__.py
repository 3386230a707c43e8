"""What `tallystick doctor` looks at: one module for each thing that can be ill."""

from __future__ import annotations
