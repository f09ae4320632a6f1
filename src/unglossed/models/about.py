"""What a model's card says of its training, for people who are about to use the model."""

from __future__ import annotations

from pathlib import Path

from unglossed.hub import find_file, find_model

CARD = "README.md"
SECTION = "## Data"
_MOST_BYTES, _MOST_LINES, _MOST_CHARACTERS = 200_000, 20, 400


def read_about(model: str | Path) -> tuple[str, ...]:
    """The points of the section "Data" of a model's card; empty where it has none.

    Args:
        model: run folder, model folder or hub name.

    Raises:
        InputError: there is no such model.
    """
    path = find_file(find_model(model), CARD)
    if path is None:
        return ()
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    told: list[str] = []
    is_within = False
    for line in text.splitlines():
        if line.startswith("## "):
            is_within = line.strip() == SECTION
        elif is_within and line.startswith("- "):
            told.append(line[2:].strip()[:_MOST_CHARACTERS])
    return tuple(told[:_MOST_LINES])
