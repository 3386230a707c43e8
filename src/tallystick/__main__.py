"""The command `tallystick`, which is `python -m tallystick`. Its packages are an extra: the SDK does without."""

from __future__ import annotations

import sys

SERVER_PACKAGES = frozenset(("click", "fastapi", "rich", "starlette", "typer", "uvicorn", "uvloop"))
_WRONG_USE = 2

try:
    from tallystick.cli import main
except ModuleNotFoundError as error:
    if error.name not in SERVER_PACKAGES:
        raise
    _missing = error.name

    def main() -> None:
        """Say what is missing, and how to install it."""
        sys.stderr.write(
            f"tallystick: the gateway and the command line need the package {_missing}: "
            "pip install 'tallystick[server]'\n"
        )
        raise SystemExit(_WRONG_USE)


if __name__ == "__main__":
    main()
