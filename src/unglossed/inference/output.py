"""Translations as text or JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unglossed.inference.translate import Translation


def format_text(translations: "Sequence[Translation]", named: bool) -> str:
    """One line a translation, below it the n-best list where there is one.

    Args:
        translations: what to write.
        named: begin each line with the name of its media and a tab.
    """
    lines = []
    for translation in translations:
        lines.append(f"{translation.media}\t{translation.text}" if named else translation.text)
        if len(translation.n_best) > 1:
            lines += [f"  {one.score:.3f}\t{one.text}" for one in translation.n_best]
    return "".join(line + "\n" for line in lines)


def format_json(translations: "Sequence[Translation]") -> str:
    """A JSON list with `media`, `text`, `score` and `n_best` of each translation."""
    rows = [translation.to_dict() for translation in translations]
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"
