"""Makes `docs/reference/settings.md` from the registry: `python -m tallystick.config.reference > …`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from tallystick.config.load import SETTINGS
from tallystick.config.model_list import BATCH_PRICE_FIELDS, PRICE_FIELDS, LitellmParams, ModelInfo
from tallystick.config.places import SettingEntry

_HEAD = """\
# Settings

This page is made from the code by `python -m tallystick.config.reference`; a test compares them.

A setting given on the command line goes before the environment, the environment before the file, the file before the
default. In the file, Tallystick's own names stand in `general_settings`; LiteLLM's names are read where LiteLLM has
them. Where a line names several places, the first one that has a value holds.

Durations are in seconds and sizes in bytes, unless a name says otherwise. A text may be a reference:
`os.environ/NAME` stands for an environment variable and `file:///path` for the content of a file. `include` names
further files, relative to the file that includes them: lists are appended, mappings merged. `environment_variables`
sets variables that the environment does not have. `CONFIG_FILE_PATH` names the file when `--config` does not.

A wrong value stops the start with file, key path and reason. A setting that is unknown, or that LiteLLM has and
Tallystick does not support yet, is named in a warning.
"""


def render_reference() -> str:
    """Write the page."""
    lines = [_HEAD, "## All settings\n"]
    for entry in SETTINGS:
        lines.extend(_lines(entry))
    lines.append("## `model_list`\n")
    lines.append("Each entry has `model_name`, `litellm_params` and, if wanted, `model_info`.\n")
    lines.append(f"- `litellm_params`: {_names(LitellmParams.model_fields)}")
    lines.append(f"- `model_info`: {_names(ModelInfo.model_fields)}, and free-form facts")
    lines.append(f"- prices, in either of them, in USD per unit: {_names(sorted(PRICE_FIELDS))}; with")
    lines.append(
        "  `_above_<N>k_tokens` at its end, a price holds when the whole prompt has more than N thousand tokens"
    )
    lines.append(f"- prices of calls in batches: {_names(sorted(BATCH_PRICE_FIELDS))}")
    lines.append("\n## `credential_list`\n")
    lines.append(
        "Each entry has `credential_name`, `credential_values` and, if wanted, `credential_info`. The values are"
    )
    lines.append("parameters of the deployments that name it by `litellm_credential_name`; their own go before them.")
    return "\n".join(lines) + "\n"


def _lines(entry: SettingEntry) -> Iterator[str]:
    yield f"### `{entry.name}`\n"
    yield f"{entry.description}\n"
    yield f"- Type: {entry.type_name}; default: {entry.default}"
    if entry.file_places:
        yield f"- File: {', '.join(f'`{place.name}`' for place in entry.file_places)}"
    if entry.environment_places:
        yield f"- Environment: {', '.join(f'`{place.name}`' for place in entry.environment_places)}"
    yield ""


def _names(names: Iterable[str]) -> str:
    shown = [name for name in names if name not in ("prices", "extra")]
    return ", ".join(f"`{name}`" for name in shown)


if __name__ == "__main__":
    sys.stdout.write(render_reference())
