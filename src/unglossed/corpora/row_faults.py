"""What can be wrong with a row by itself, whatever the corpus."""

from __future__ import annotations

import math

from unglossed.corpora.faults import FaultKind


def find_row_fault(
    id: str,
    id_field: str,
    seen: str | None,
    empty_field: str | None,
    start: float | None,
    end: float | None,
) -> tuple[FaultKind, str] | None:
    """Find why a row cannot be a sample, its media aside.

    Args:
        id: Name of the clip.
        id_field: How the file calls it.
        seen: Where a row has the same id; None: no row before has.
        empty_field: How the file calls the text, if that is needed and empty; None: it is not.
        start: Begin in seconds; None: that of the media.
        end: End in seconds; None: that of the media.

    Returns:
        The kind of fault, and what was found and expected; None: there is none.
    """
    named = f"({id_field} {id!r})"
    if not id.strip():
        return FaultKind.MALFORMED_ROW, f"the field {id_field} is empty"
    if not is_unicode(id):
        text = f"{id_field} {id!r}: a name that is not UTF-8, expected one that is: rename it"
        return FaultKind.MALFORMED_ROW, text
    if seen is not None:
        text = f"{id_field} {id!r} was seen before ({seen}), expected each once"
        return FaultKind.DUPLICATE_ID, text
    if empty_field is not None:
        return FaultKind.EMPTY_TEXT, f"the field {empty_field} is empty {named}"
    if not are_times(start, None):
        return FaultKind.BAD_TIMES, f"start {start}, expected seconds from 0 {named}"
    if end is not None and not math.isfinite(end):
        return FaultKind.BAD_TIMES, f"end {end}, expected seconds {named}"
    if not are_times(start, end):
        text = f"end {end}, expected more than the start {start or 0.0} {named}"
        return FaultKind.BAD_TIMES, text
    return None


def is_unicode(name: str) -> bool:
    """Whether a name is text, and not a file's whose bytes are in another encoding than UTF-8."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def are_times(start: float | None, end: float | None) -> bool:
    """Whether a clip can begin and end there; None is where its media begin or end."""
    begin = 0.0 if start is None else start
    return 0.0 <= begin < math.inf and (end is None or begin < end < math.inf)
