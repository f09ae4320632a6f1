"""What lies in a trained model's folder: whether all of it is there, and the shapes of its weights.

Only names, sizes and the heads of weights are read, which takes no longer for a large model.
"""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from unglossed.errors import InputError
from unglossed.files import read_checksums


def is_whole(model: Path) -> bool:
    """Whether a model's files are there, and its weights not cut; their values are not compared."""
    try:
        names = read_checksums(model)
        if names is None or not all((model / name).is_file() for name in names):
            return False
        for path in model.glob("*.safetensors"):
            with safe_open(path, framework="numpy"):
                pass
    except (InputError, OSError, SafetensorError):
        return False
    return True


def num_parameters(model: Path) -> dict[str, int]:
    """Weights of a whole model by part, as its files list them; shared ones count once."""
    found: dict[str, int] = {}
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                part = name.partition(".")[0]
                part = part if part in ("encoder", "adapter", "language_model") else "all"
                found[part] = found.get(part, 0) + math.prod(file.get_slice(name).get_shape())
    return found
