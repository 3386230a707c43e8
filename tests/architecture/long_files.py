"""Print a note for each file that has become a question: above 400 lines, below the 600 that fail the tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from architecture.rules import FILE_LINES_MAX, FILE_LINES_NOTED
from architecture.sources import other_sources, package_sources

for file in (*package_sources(), *other_sources()):
    lines = file.text.count("\n")
    if lines > FILE_LINES_NOTED:
        print(f"note: {file.place} has {lines} lines; is it still one idea? ({FILE_LINES_MAX} fails)")
