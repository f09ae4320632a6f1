"""JSON as releases and people write it: whole files, and objects whose fields are told once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unglossed.corpora.captions import read_text
from unglossed.corpora.faults import RowError
from unglossed.errors import InputError


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It cannot be read, is no JSON, or has a field twice.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=fields_once)
    except RowError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def fields_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of JSON, which by itself would keep the last of two values of a name.

    Raises:
        RowError: There are two.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError(f"found the field {twice!r} twice, expected it once")
    return fields
