"""What can be wrong with a copy of a corpus: kinds of faults, and a list that counts them.

Readers and the checker report into one list; training reads without one and stops at the first
error.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum


class Severity(StrEnum):
    """How bad a fault is."""

    ERROR = "error"
    """Training would stop here, or learn something wrong."""
    WARNING = "warning"
    """Training works, but something is not as the user may think."""
    NOTE = "note"
    """A fact about the corpus that numbers depend on."""


class FaultKind(Enum):
    """Every kind of fault: its title in reports, and its severity."""

    title: str
    severity: Severity

    def __init__(self, title: str, severity: Severity) -> None:
        self.title = title
        self.severity = severity

    UNREADABLE = ("corpus cannot be read further", Severity.ERROR)
    MALFORMED_ROW = ("malformed row", Severity.ERROR)
    NOT_UTF8 = ("not UTF-8", Severity.ERROR)
    DUPLICATE_ID = ("id used twice", Severity.ERROR)
    EMPTY_TEXT = ("empty text", Severity.ERROR)
    EMPTY_SPLIT = ("split without a row", Severity.ERROR)
    BAD_TIMES = ("times that give no clip", Severity.ERROR)
    MISSING_MEDIA = ("media missing", Severity.ERROR)
    UNREADABLE_MEDIA = ("media unreadable", Severity.ERROR)
    DAMAGED_MEDIA = ("media damaged", Severity.ERROR)
    MIXED_LANGUAGES = ("texts in several languages", Severity.ERROR)
    UNKNOWN_LANGUAGE = ("language that scoring does not know", Severity.ERROR)
    UNFIT = ("does not fit the recipe", Severity.ERROR)
    MOJIBAKE = ("text damaged by a wrong encoding", Severity.ERROR)
    USELESS_ROW = ("row without a text or a length, left out", Severity.WARNING)
    UNREAD_CAPTIONS = ("captions of a kind that is not read", Severity.WARNING)
    ODD_CAPTIONS = ("captions that may not be what they seem", Severity.WARNING)
    MISSING_SPLIT = ("split that training needs is not there", Severity.WARNING)
    OTHER_LANGUAGE = ("start token of another language than the texts", Severity.WARNING)
    NO_SPLIT = ("row in no split, left out", Severity.WARNING)
    ODD_SPLIT = ("split whose name is nearly another's", Severity.WARNING)
    MEDIA_WITHOUT_ROW = ("media without a row", Severity.WARNING)
    PARTIAL_LIST = ("list of frames that is shorter than the folder", Severity.WARNING)
    FRAME_GAP = ("gap in the frame numbers", Severity.WARNING)
    REPEATED_NUMBER = ("several pictures of each number", Severity.WARNING)
    MISSING_STREAM = ("clip with only one of two streams", Severity.WARNING)
    NO_CONTENT = ("clip with nothing in it to translate", Severity.WARNING)
    OPPOSITE_CHANNELS = ("audio whose channels cancel each other", Severity.WARNING)
    PAST_END = ("time past the end of the media, cut there", Severity.WARNING)
    MISALIGNED = ("clips that are known to be misaligned", Severity.WARNING)
    NO_TRANSCRIPTS = ("file of transcripts that does not fit, left out", Severity.WARNING)
    SAME_CLIP = ("the same clip under two ids", Severity.WARNING)
    INTERLACED = ("interlaced video, two moments in a frame", Severity.WARNING)
    TOO_SHORT = ("clip shorter than the limit", Severity.WARNING)
    TOO_LONG = ("clip longer than the limit", Severity.WARNING)
    ODD_TEXT = ("odd characters in the text", Severity.WARNING)
    TWO_FORMS = ("the same sign in several forms", Severity.WARNING)
    SIZE_CHANGES = ("video whose pictures change size, brought to the first's", Severity.NOTE)
    NOT_HERE = ("listed by the release, not in this copy", Severity.NOTE)
    LEFT_OUT = ("left out by the corpus's rules", Severity.NOTE)
    SHARED_SENTENCE = ("sentences shared between splits", Severity.NOTE)
    SHARED_SIGNER = ("signers or speakers shared between splits", Severity.NOTE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where it is (file and line, or clip), what was found and what was expected."""

    kind: FaultKind
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class Faults:
    """Counts faults by kind and keeps the first of each, so that a million cost no memory.

    Args:
        max_examples: Faults of each kind that are kept.
    """

    def __init__(self, max_examples: int = 20) -> None:
        self.max_examples = max_examples
        self._counts: Counter[FaultKind] = Counter()
        self._examples: defaultdict[FaultKind, list[Fault]] = defaultdict(list)

    def add(self, fault: Fault) -> None:
        """Count a fault, and keep it if it is one of the first of its kind."""
        self._counts[fault.kind] += 1
        if self._counts[fault.kind] <= self.max_examples:
            self._examples[fault.kind].append(fault)

    def count(self, kind: FaultKind) -> int:
        """How often this kind was found."""
        return self._counts[kind]

    def total(self, severity: Severity) -> int:
        """How many faults of this severity were found."""
        return sum(count for kind, count in self._counts.items() if kind.severity is severity)

    def examples(self, kind: FaultKind) -> tuple[Fault, ...]:
        """The first faults of this kind."""
        return tuple(self._examples.get(kind, ()))

    def __iter__(self) -> Iterator[FaultKind]:
        """The kinds found, in the order of `FaultKind`: errors, warnings, notes."""
        return (kind for kind in FaultKind if kind in self._counts)

    def notes(self) -> tuple[str, ...]:
        """One line for each kind: title, count, first example."""
        return tuple(
            f"{kind.title}: {self._counts[kind]} ({self._examples[kind][0]}"
            + (", ...)" if self._counts[kind] > 1 else ")")
            for kind in self
        )


def most_unreadable(num_clips: int) -> int:
    """How many clips may be unreadable before work stops: one in a hundred, five at least."""
    return max(5, num_clips // 100)


class RowError(Exception):
    """A row cannot be used; the message is for the user."""

    def __init__(self, text: str, kind: FaultKind = FaultKind.MALFORMED_ROW) -> None:
        super().__init__(text)
        self.kind = kind
