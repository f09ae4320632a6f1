"""The table that papers print about a corpus: samples, hours, signers, words, lengths.

Words are those of sacreBLEU's tokenizer for the language, the one that scores use (see
`languages.py`). A token without a letter or a digit is not a word; upper and lower case differ.
Durations are those of the clips as training reads them, cut where the media end; without media
(`?media=none`) those of the rows that say where their clip begins and ends.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from unglossed.corpora.check_media import look_at_media
from unglossed.corpora.languages import tokenisation
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.media.audio import AUDIO_SUFFIXES
from unglossed.media.frames import FRAME_RATE
from unglossed.media.probe import MediaFacts
from unglossed.media.signal import VideoSignal

_TOKENIZERS = {
    "13a": (Tokenizer13a, "13a"),
    "char": (TokenizerChar, "char: each character is one"),
    "zh": (TokenizerZh, "zh: each Chinese character is one"),
}
"""For each tokenisation sacreBLEU's class, and what it makes a token."""


@dataclass(frozen=True)
class Quantiles:
    """How a length is spread over the clips: 5 % are at most `low`, 95 % at most `high`."""

    minimum: float
    low: float
    median: float
    mean: float
    high: float
    maximum: float

    @staticmethod
    def of(values: NDArray[np.float64]) -> Quantiles:
        """The quantiles of (n,) values, n at least 1."""
        low, median, high = (float(value) for value in np.quantile(values, (0.05, 0.5, 0.95)))
        return Quantiles(
            float(values.min()), low, median, float(values.mean()), high, float(values.max())
        )


@dataclass(frozen=True)
class SplitStats:
    """The numbers of one split, or of all together; None where there is nothing to count.

    `num_unknown_words` are the different words that train does not have, `unknown_share` is their
    share of the running words (0..1), `num_sentences_in_train` counts sentences that train has as
    well; none of the three is known for train itself. Singletons are counted in train only.
    """

    num_samples: int
    num_references: int | None
    hours: float | None
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
    seconds_per_clip: Quantiles | None
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
        seconds: Length of each clip, by split: (clips,), without those that are not known.
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
            "total": asdict(self.total),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        columns = dict(self.splits)
        if len(columns) > 1:
            columns["total"] = self.total
        return (
            f"{self.spec}\n{_format_counts(columns)}\n\n{_format_spreads(columns)}\n\n{self.words}"
        )


def corpus_stats(spec: str, num_workers: int | None = None, progress: bool = False) -> Stats:
    """Count what a corpus holds.

    Every medium is looked at once (headers and listings), since only it tells where a clip ends;
    none where the spec says `?media=none`.

    Args:
        spec: As in `read_corpus`.
        num_workers: Processes that look at media; None for one per core.
        progress: Show a bar on stderr.

    Raises:
        InputError: The corpus has an error, see `unglossed corpus check`; or it is not known what
            the words of its language are.
    """
    corpus = read_corpus(spec)
    samples = [row for rows in corpus.splits.values() for row in rows]
    tokenizers = {code: _TOKENIZERS[tokenisation(code)] for code in corpus.languages}
    facts: _Facts = {}
    if corpus.has_media:
        facts = _look(samples, num_workers, progress)
        has_frames = any(VideoSignal().is_in(fact) for fact in facts.values())
    else:
        has_frames = any(row.media.suffix.lower() not in AUDIO_SUFFIXES for row in samples)
    clips: dict[str, list[_Clip]] = {}
    splits: dict[str, SplitStats] = {}
    for language, (tokenizer, _) in tokenizers.items():
        split_words = _splitter(tokenizer())
        suffix = f" {language}" if len(tokenizers) > 1 else ""
        own = {
            name + suffix: [
                _Clip(row, split_words(row.text), _length(row, facts.get(row.media)))
                for row in rows
                if row.language == language
            ]
            for name, rows in corpus.splits.items()
        }
        train = own.get("train" + suffix)
        clips |= {name: rows for name, rows in own.items() if rows}
        splits |= {name: _count(rows, train, has_frames) for name, rows in own.items() if rows}
    tokens = ", ".join(
        tokens if len(tokenizers) == 1 else f"{code}: {tokens}"
        for code, (_, tokens) in tokenizers.items()
    )
    return Stats(
        spec=spec,
        name=corpus.name,
        words=f"words: sacreBLEU's tokens ({tokens}) that hold a letter or a digit; upper and lower"
        " case differ",
        splits=splits,
        total=_count(list(chain(*clips.values())), None, has_frames),
        num_words={name: _num_words(rows) for name, rows in clips.items()},
        seconds={name: _seconds(rows) for name, rows in clips.items()},
        signers={name: _signers(rows) for name, rows in clips.items()},
        notes=(*corpus.notes, *_note_lengths(corpus, clips)),
    )


def _look(samples: Iterable[Sample], num_workers: int | None, progress: bool) -> _Facts:
    """Look at the media of clips, each once."""
    media = list(dict.fromkeys(row.media for row in samples))
    looks = look_at_media(media, num_workers=num_workers, progress=progress)
    facts = {}
    for path, look in zip(media, looks, strict=True):
        if look.facts is None:
            raise InputError(f"{path}: {look.findings[0].text}")
        facts[path] = look.facts
    return facts


def _note_lengths(corpus: Corpus, clips: Mapping[str, Sequence[_Clip]]) -> list[str]:
    """Say of how many clips the lengths are known, where these come from the rows alone."""
    if corpus.has_media:
        return []
    lengths = [_seconds(rows).size for rows in clips.values()]
    num_known, total = sum(lengths), sum(map(len, clips.values()))
    if num_known == total:
        return ["hours and lengths are those that the rows give: media=none"]
    how = "hours and lengths are of these" if num_known else "hours and lengths are not known"
    return [f"{num_known:,} of {total:,} rows say where their clip begins and ends: {how}"]


_Facts = dict[Path, MediaFacts]


class _Clip(NamedTuple):
    sample: Sample
    words: list[str]
    seconds: float


def _length(row: Sample, facts: MediaFacts | None) -> float:
    """Seconds of a clip as training reads it, cut where its medium ends.

    Without facts about its medium as its row says, NaN if it does not.
    """
    if facts is None:
        return math.nan if row.end_seconds is None else row.end_seconds - (row.start_seconds or 0.0)
    begin, duration = facts.span(row.frame_rate)
    start = max(row.start_seconds or 0.0, begin)
    end = duration if row.end_seconds is None else min(row.end_seconds, duration)
    if end <= start:
        raise InputError(
            f"{row.split} clip {row.id!r}: begins at {start:.2f} s, but {row.media} is only"
            f" {duration:.2f} s long"
        )
    return end - start


def _splitter(tokenize: Callable[[str], str]) -> Callable[[str], list[str]]:
    """A function that splits a sentence into words with one of sacreBLEU's tokenizers."""

    @cache
    def word(token: str) -> str:
        return token if any(map(str.isalnum, token)) else ""

    return lambda text: [found for token in tokenize(text).split() if (found := word(token))]


def _num_words(clips: Sequence[_Clip]) -> NDArray[np.int64]:
    return np.array([len(clip.words) for clip in clips], np.int64)


def _seconds(clips: Sequence[_Clip]) -> NDArray[np.float64]:
    """The lengths that are known."""
    seconds = np.array([clip.seconds for clip in clips], np.float64)
    return seconds[~np.isnan(seconds)]


def _signers(clips: Sequence[_Clip]) -> Counter[str]:
    return Counter(clip.sample.signer for clip in clips if clip.sample.signer)


def _count(clips: Sequence[_Clip], train: Sequence[_Clip] | None, has_frames: bool) -> SplitStats:
    """Count clips; compare them with those of train, where there are any and these are others."""
    words = Counter(word for clip in clips for word in clip.words)
    sentences = {clip.sample.text for clip in clips}
    glosses = Counter(gloss for clip in clips for gloss in (clip.sample.gloss or "").split())
    unknown = sentences_in_train = None
    if train and train is not clips:
        known = {word for clip in train for word in clip.words}
        unknown = [count for word, count in words.items() if word not in known]
        sentences_in_train = len(sentences & {clip.sample.text for clip in train})
    seconds = _seconds(clips)
    # As training resamples a clip: at least one frame of each.
    frames = np.maximum(np.round(seconds * FRAME_RATE), 1)
    return SplitStats(
        num_samples=len(clips),
        num_references=sum(len(clip.sample.references) for clip in clips) or None,
        hours=float(seconds.sum()) / 3600 if seconds.size else None,
        num_signers=len(_signers(clips)) or None,
        num_running_words=words.total(),
        num_words=len(words),
        num_singletons=list(words.values()).count(1) if train is clips else None,
        num_unknown_words=None if unknown is None else len(unknown),
        unknown_share=None if unknown is None else sum(unknown) / max(words.total(), 1),
        num_sentences=len(sentences),
        num_sentences_in_train=sentences_in_train,
        num_glosses=len(glosses) or None,
        num_running_glosses=glosses.total() or None,
        words_per_sentence=Quantiles.of(_num_words(clips).astype(np.float64)),
        seconds_per_clip=Quantiles.of(seconds) if seconds.size else None,
        frames_per_clip=Quantiles.of(frames) if has_frames and seconds.size else None,
    )


_COUNTS = {
    "num_samples": ("samples", "{:,}"),
    "num_references": ("further references", "{:,}"),
    "hours": ("hours", "{:,.2f}"),
    "num_signers": ("signers", "{:,}"),
    "num_running_words": ("running words", "{:,}"),
    "num_words": ("vocabulary", "{:,}"),
    "num_singletons": ("singletons", "{:,}"),
    "num_unknown_words": ("out of vocabulary, words", "{:,}"),
    "unknown_share": ("out of vocabulary, % of running words", "{:.2%}"),
    "num_sentences": ("distinct sentences", "{:,}"),
    "num_sentences_in_train": ("of these also in train", "{:,}"),
    "num_glosses": ("gloss vocabulary", "{:,}"),
    "num_running_glosses": ("running glosses", "{:,}"),
}
_SPREADS = {
    "words_per_sentence": ("words per sentence", 0),
    "seconds_per_clip": ("seconds per clip", 2),
    "frames_per_clip": ("frames per clip, at 25 a second", 0),
}
_QUANTILES = ("", "min", "5 %", "median", "mean", "95 %", "max")


def _format_counts(columns: Mapping[str, SplitStats]) -> str:
    """A table of the counts; a line that no split has a number for is left out."""
    rows = [["", *columns]]
    splits = columns.values()
    is_audio = any(one.seconds_per_clip for one in splits) and not any(
        one.frames_per_clip for one in splits
    )
    for name, (title, form) in _COUNTS.items():
        values = [getattr(numbers, name) for numbers in columns.values()]
        if name == "num_signers" and is_audio:
            title = "speakers"
        if any(value is not None for value in values):
            cells = ["-" if value is None else form.format(value) for value in values]
            rows.append([title, *(cell.removesuffix("%") for cell in cells)])
    return _aligned(rows)


def _format_spreads(columns: Mapping[str, SplitStats]) -> str:
    rows = [[*_QUANTILES]]
    for name, (title, places) in _SPREADS.items():
        spreads = {split: getattr(numbers, name) for split, numbers in columns.items()}
        if any(spreads.values()):
            rows.append([title])
        for split, spread in spreads.items():
            if spread is not None:
                # The mean of whole numbers is not a whole number.
                cells = [
                    f"{value:,.{max(places, 1) if key == 'mean' else places}f}"
                    for key, value in asdict(spread).items()
                ]
                rows.append([f"  {split}", *cells])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    table = Table.grid(padding=(0, 2))
    for place in range(len(rows[0])):
        table.add_column(justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = StringIO()
    Console(file=text, width=10_000, color_system=None, markup=False, emoji=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def check_output(folder: Path) -> None:
    """Refuse, before the work, a folder that `write_stats` cannot write to; nothing is left there.

    Raises:
        InputError: It cannot be written to.
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
    """Write `stats.json`; the folder is made if it is not there, its other files stay."""
    text = json.dumps(stats.to_dict(), indent=2, ensure_ascii=False)
    write_text(folder / "stats.json", text + "\n")
