"""The table that papers print about a corpus: samples, hours, signers, words, lengths.

Words are those of sacreBLEU's tokenizer for the language, the one that scores use (see
`languages.py`). A token without a letter or a digit is no word; upper and lower case differ.
Durations are those of the clips as training reads them, cut where the media end.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from unglossed.corpora.check_media import look_at_media
from unglossed.corpora.languages import tokenisation
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.media.frames import FRAME_RATE
from unglossed.media.probe import MediaFacts
from unglossed.media.signal import VideoSignal

_COUNTS = {
    "num_samples": "samples",
    "num_references": "further references",
    "hours": "hours",
    "num_signers": "signers",
    "num_running_words": "running words",
    "num_words": "vocabulary",
    "num_singletons": "singletons",
    "num_unknown_words": "out of vocabulary, words",
    "unknown_share": "out of vocabulary, % of running words",
    "num_sentences": "distinct sentences",
    "num_sentences_in_train": "of these also in train",
    "num_glosses": "gloss vocabulary",
    "num_running_glosses": "running glosses",
}
_SPREADS = {
    "words_per_sentence": ("words per sentence", 0),
    "seconds_per_clip": ("seconds per clip", 2),
    "frames_per_clip": ("frames per clip, at 25 a second", 0),
}
_QUANTILES = ("minimum", "low", "median", "mean", "high", "maximum")
_QUANTILE_TITLES = ("min", "5 %", "median", "mean", "95 %", "max")


def format_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Set the numbers as two tables; a line that no split has a number for is left out.

    Args:
        columns: By split, `SplitStats` as a dict.
    """
    counts = [["", *columns]]
    for name, title in _COUNTS.items():
        values = [numbers[name] for numbers in columns.values()]
        if name == "num_signers" and not any(one["frames_per_clip"] for one in columns.values()):
            title = "speakers"
        if any(value is not None for value in values):
            counts.append([title, *(_count(name, value) for value in values)])
    spreads = [["", *_QUANTILE_TITLES]]
    for name, (title, places) in _SPREADS.items():
        found = {split: numbers[name] for split, numbers in columns.items() if numbers[name]}
        if found:
            spreads.append([title])
        for split, spread in found.items():
            cells = [
                # The mean of whole numbers is none.
                f"{spread[key]:,.{max(places, 1) if key == 'mean' else places}f}"
                for key in _QUANTILES
            ]
            spreads.append([f"  {split}", *cells])
    return f"{_aligned(counts)}\n\n{_aligned(spreads)}"


def _count(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "hours":
        return f"{value:,.2f}"
    return f"{100 * value:.2f}" if name == "unknown_share" else f"{value:,}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [
        max(len(row[place]) for row in rows if place < len(row)) for place in range(len(rows[0]))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )


TOTAL = "total"
_TOKENIZERS = {
    "13a": (Tokenizer13a, "13a"),
    "char": (TokenizerChar, "char: each character is one"),
    "zh": (TokenizerZh, "zh: each Chinese character is one"),
}
"""For each tokenisation sacreBLEU's class, and what it makes a token."""


@dataclass(frozen=True)
class Quantiles:
    """How a length is spread over the clips."""

    minimum: float
    low: float
    median: float
    mean: float
    high: float
    maximum: float

    @staticmethod
    def of(values: NDArray[np.float64]) -> Quantiles:
        """Least, 5 %, half, mean, 95 % and greatest of (n,) values, n at least 1."""
        low, median, high = (float(value) for value in np.quantile(values, (0.05, 0.5, 0.95)))
        return Quantiles(
            float(values.min()), low, median, float(values.mean()), high, float(values.max())
        )


@dataclass(frozen=True)
class SplitStats:
    """The numbers of one split, or of all together.

    Attributes:
        num_samples: Clips.
        num_references: Further references of these, beside a text each; None: there are none.
        hours: Their length together.
        num_signers: Different signers; None: the corpus does not tell.
        num_running_words: Words, each time it occurs.
        num_words: Different words, the vocabulary.
        num_singletons: Words that occur once; train only.
        num_unknown_words: Different words that train does not have; not for train.
        unknown_share: Share of the running words that train does not have, 0..1; likewise.
        num_sentences: Different sentences.
        num_sentences_in_train: Those that train has as well; likewise.
        num_glosses: Different glosses; None: the corpus has none.
        num_running_glosses: Glosses, each time it occurs.
        words_per_sentence: Spread of the sentences' lengths.
        seconds_per_clip: Spread of the clips' lengths.
        frames_per_clip: The same at 25 frames a second; None: sound only.
    """

    num_samples: int
    num_references: int | None
    hours: float
    num_signers: int | None
    num_running_words: int
    num_words: int
    num_singletons: int | None
    num_unknown_words: int | None
    unknown_share: float | None
    num_sentences: int
    num_sentences_in_train: int | None
    num_glosses: int | None
    num_running_glosses: int | None
    words_per_sentence: Quantiles
    seconds_per_clip: Quantiles
    frames_per_clip: Quantiles | None


@dataclass(frozen=True)
class Stats:
    """What a corpus holds; prints itself as a table.

    Attributes:
        spec: What the user wrote.
        name: Kind of the corpus.
        words: What counts as a word, in one line.
        splits: Each split's numbers; in several languages those of each, as "train de".
        total: Those of all splits together.
        num_words: Words of each sentence, by split: (clips,).
        seconds: Length of each clip, by split: (clips,).
        signers: Clips of each signer, by split.
        notes: What the reader left out, one line a kind; to be shown.
    """

    spec: str
    name: str
    words: str
    splits: Mapping[str, SplitStats]
    total: SplitStats
    num_words: Mapping[str, NDArray[np.int64]] = field(repr=False)
    seconds: Mapping[str, NDArray[np.float64]] = field(repr=False)
    signers: Mapping[str, Counter[str]] = field(repr=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The content of `stats.json`."""
        return {
            "corpus": self.spec,
            "kind": self.name,
            "words": self.words,
            "splits": {name: asdict(numbers) for name, numbers in self.splits.items()},
            TOTAL: asdict(self.total),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        columns = dict(self.splits)
        if len(columns) > 1:
            columns[TOTAL] = self.total
        table = format_table({name: asdict(numbers) for name, numbers in columns.items()})
        return f"{self.spec}\n{table}\n\n{self.words}"


def corpus_stats(spec: str, num_workers: int | None = None, progress: bool = False) -> Stats:
    """Count what a corpus holds.

    Every medium is looked at once (headers and listings), since only it tells where a clip ends.

    Args:
        spec: As in `read_corpus`.
        num_workers: Processes that look at media; None for one per core.
        progress: Show a bar on standard error.

    Raises:
        InputError: The corpus has an error, see `unglossed corpus check`; or it is not known what
            the words of its language are.
    """
    corpus = read_corpus(spec)
    languages = corpus.languages
    tokenizers = {code: _TOKENIZERS[tokenisation(code)] for code in languages}
    media = list(dict.fromkeys(row.media for rows in corpus.splits.values() for row in rows))
    facts: dict[Path, MediaFacts] = {}
    has_pictures = False
    looks = look_at_media(media, num_workers=num_workers, progress=progress)
    for path, look in zip(media, looks, strict=True):
        if look.facts is None:
            raise InputError(f"{path}: {look.text}")
        facts[path] = look.facts
        has_pictures = has_pictures or VideoSignal().is_in(look.facts)
    counts: dict[str, _Counts] = {}
    trains: dict[str, _Counts | None] = {}  # by column: what it is compared with
    for language in languages:
        split_words = _splitter(tokenizers[language][0]())
        suffix = f" {language}" if len(languages) > 1 else ""
        for name, rows in corpus.splits.items():
            own = [row for row in rows if row.language == language]
            if own:
                counts[name + suffix] = _Counts.of(own, facts, split_words)
                trains[name + suffix] = counts.get("train" + suffix)
    tokens = ", ".join(
        tokens if len(languages) == 1 else f"{code}: {tokens}"
        for code, (_, tokens) in tokenizers.items()
    )
    return Stats(
        spec=spec,
        name=corpus.name,
        words=f"words: sacreBLEU's tokens ({tokens}) that hold a letter or a digit; upper and lower"
        " case differ",
        splits={
            name: numbers.stats(trains[name], has_pictures, is_train=numbers is trains[name])
            for name, numbers in counts.items()
        },
        total=_Counts.sum(list(counts.values())).stats(None, has_pictures, is_train=False),
        num_words={name: numbers.lengths for name, numbers in counts.items()},
        seconds={name: numbers.seconds for name, numbers in counts.items()},
        signers={name: numbers.signers for name, numbers in counts.items()},
        notes=corpus.notes,
    )


def check_output(folder: Path) -> None:
    """Find out before the work whether `write_stats` can write to a folder; nothing is left there.

    Raises:
        InputError: It cannot.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        what = "found a file" if folder.is_file() else f"cannot be written to ({error.strerror})"
        raise InputError(f"{folder}: {what}, expected a folder to write the figures to") from None
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def write_stats(stats: Stats, folder: Path) -> None:
    """Write `stats.json` and histograms as SVG; each file is whole or not there.

    Other files of the folder are left as they are. The same numbers give the same bytes.

    Args:
        stats: Of a corpus.
        folder: Where to; it is made if it is not there.
    """
    from unglossed.corpora.histograms import draw_histograms

    write_text(
        folder / "stats.json", json.dumps(stats.to_dict(), indent=2, ensure_ascii=False) + "\n"
    )
    draw_histograms(folder, stats.seconds, stats.num_words, stats.signers)


@dataclass(frozen=True)
class _Counts:
    """What is counted of a set of clips, before anything is compared."""

    words: Counter[str]
    glosses: Counter[str]
    signers: Counter[str]
    sentences: frozenset[str]
    lengths: NDArray[np.int64]
    seconds: NDArray[np.float64]
    num_references: int

    @staticmethod
    def of(
        rows: Sequence[Sample],
        facts: Mapping[Path, MediaFacts],
        split_words: Callable[[str], list[str]],
    ) -> _Counts:
        words: Counter[str] = Counter()
        glosses: Counter[str] = Counter()
        lengths = np.zeros(len(rows), np.int64)
        seconds = np.zeros(len(rows), np.float64)
        for index, row in enumerate(rows):
            found = split_words(row.text)
            words.update(found)
            lengths[index] = len(found)
            glosses.update((row.gloss or "").split())
            begin, duration = facts[row.media].span(row.frame_rate)
            start = max(row.start_seconds or 0.0, begin)
            end = duration if row.end_seconds is None else min(row.end_seconds, duration)
            if end <= start:
                raise InputError(
                    f"{row.split} clip {row.id!r}: begins at {start:.2f} s, but {row.media} is only"
                    f" {duration:.2f} s long"
                )
            seconds[index] = end - start
        return _Counts(
            words,
            glosses,
            Counter(row.signer for row in rows if row.signer),
            frozenset(row.text for row in rows),
            lengths,
            seconds,
            sum(len(row.references) for row in rows),
        )

    @staticmethod
    def sum(parts: Sequence[_Counts]) -> _Counts:
        words: Counter[str] = Counter()
        glosses: Counter[str] = Counter()
        signers: Counter[str] = Counter()
        for part in parts:
            words.update(part.words)
            glosses.update(part.glosses)
            signers.update(part.signers)
        return _Counts(
            words,
            glosses,
            signers,
            frozenset().union(*(part.sentences for part in parts)),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            sum(part.num_references for part in parts),
        )

    def stats(self, train: _Counts | None, has_pictures: bool, *, is_train: bool) -> SplitStats:
        unknown = sentences_in_train = None
        if train is not None and not is_train:
            unknown = [count for word, count in self.words.items() if word not in train.words]
            sentences_in_train = len(self.sentences & train.sentences)
        num_running_words = self.words.total()
        # As training resamples a clip: at least one frame of each.
        frames = np.maximum(np.round(self.seconds * FRAME_RATE), 1)
        return SplitStats(
            num_samples=len(self.lengths),
            num_references=self.num_references or None,
            hours=float(self.seconds.sum()) / 3600,
            num_signers=len(self.signers) or None,
            num_running_words=num_running_words,
            num_words=len(self.words),
            num_singletons=list(self.words.values()).count(1) if is_train else None,
            num_unknown_words=None if unknown is None else len(unknown),
            unknown_share=None if unknown is None else sum(unknown) / max(num_running_words, 1),
            num_sentences=len(self.sentences),
            num_sentences_in_train=sentences_in_train,
            num_glosses=len(self.glosses) or None,
            num_running_glosses=self.glosses.total() or None,
            words_per_sentence=Quantiles.of(self.lengths.astype(np.float64)),
            seconds_per_clip=Quantiles.of(self.seconds),
            frames_per_clip=Quantiles.of(frames) if has_pictures else None,
        )


def _splitter(tokenize: Callable[[str], str]) -> Callable[[str], list[str]]:
    """What splits a sentence into words, from one of sacreBLEU's tokenizers."""
    is_word: dict[str, bool] = {}

    def split(text: str) -> list[str]:
        words = []
        for token in tokenize(text).split():
            known = is_word.get(token)
            if known is None:
                known = is_word[token] = any(map(str.isalnum, token))
            if known:
                words.append(token)
        return words

    return split
