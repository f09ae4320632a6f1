"""Values under `config` of a part that no model can be made of, whatever the part is.

What a key means is known to the part's class alone; here is what holds for all: numbers are finite,
shares lie between 0 and 1, and sizes are such as a machine may have room for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

MOST_LAYERS = 1000
MOST = 100_000_000


def find_unsound(config: Any, where: str = "") -> Iterator[str]:
    """Find what is wrong in a part's configuration: `.key: found 3, expected ...`.

    Args:
        config: the configuration, or a value within it.
        where: its key, each after a dot; empty: the whole.
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from find_unsound(value, f"{where}.{key}")
        return
    key = where.rpartition(".")[2]
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from find_unsound(value, where)
        return
    is_number = isinstance(config, (int, float)) and not isinstance(config, bool)
    if is_number and not math.isfinite(config):
        yield f"{where}: found {config}, expected a finite number"
    elif "dropout" in key or "layerdrop" in key:
        if config is not None and not (is_number and 0 <= config <= 1):
            yield f"{where}: found {config!r}, expected a number from 0 to 1"
    elif is_number and ("layers" in key or key == "depths") and config > MOST_LAYERS:
        yield f"{where}: found {config}, expected at most {MOST_LAYERS:,}: more is taken for a slip"
    elif isinstance(config, int) and abs(config) > MOST:
        yield f"{where}: found {config}, expected at most {MOST:,}: more is taken for a slip"
