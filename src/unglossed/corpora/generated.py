"""What a generated corpus says about itself, in the `generated.json` beside its layout."""

from __future__ import annotations

import json
from pathlib import Path

from unglossed.errors import InputError


def generated_language(base: Path) -> str | None:
    """Language that a generated corpus notes; None if the corpus was not generated.

    Args:
        base: Folder of the layout. The note lies in it or in the folder above.

    Raises:
        InputError: The note cannot be read.
    """
    for folder in (base, base.resolve().parent):
        path = folder / "generated.json"
        if not path.is_file():
            continue
        try:
            language = json.loads(path.read_text(encoding="utf-8")).get("language")
        except (ValueError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: not the JSON object of a generated corpus: {error}"
            ) from error
        return str(language) if language else None
    return None
