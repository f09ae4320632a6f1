"""Compares what systems wrote of the same clips: paired tests, sentences won and lost.

Reads what `score` reads, and folders of `evaluate`. The tests are those of `significance`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from unglossed.errors import InputError
from unglossed.evaluation.metrics import DEFAULT_NORMALISATION, normalise, sentence_bleu
from unglossed.evaluation.significance import (
    SEED,
    TRIALS,
    Difference,
    Measure,
    paired_differences,
)
from unglossed.evaluation.text_files import (
    METRICS,
    PREDICTIONS,
    check_order,
    has_references,
    read_hypotheses,
    read_ids,
    read_languages,
    references_for,
)
from unglossed.files import RUN_FILE, write_text

SENTENCES = 10
SENTENCE_METRIC = "sentence BLEU-4"

_SUFFIXES = (".md", ".json")
_TIE = 1e-9
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~])")

MoreMeasures = Callable[[Sequence[str], str], Sequence[Measure]]
"""Measures for the ids of some samples, and their language."""


@dataclass(frozen=True)
class SentenceDifference:
    """A sentence that two systems wrote differently; `difference` is of `SENTENCE_METRIC`."""

    id: str
    difference: float
    references: tuple[str, ...]
    baseline: str
    system: str


@dataclass(frozen=True)
class Compared:
    """A system beside the baseline.

    Attributes:
        name: What it was called.
        differences: By language and metric.
        wins: Sentences that it wrote better, by `SENTENCE_METRIC`.
        losses: Sentences that it wrote worse.
        ties: All others.
        sentences: Those that differ most, the most first.
    """

    name: str
    differences: dict[str, dict[str, Difference]]
    wins: int
    losses: int
    ties: int
    sentences: tuple[SentenceDifference, ...]


@dataclass(frozen=True)
class Comparison:
    """Systems beside a baseline; as text it is Markdown."""

    baseline: str
    num_sentences: int
    systems: tuple[Compared, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"# Compared with {_plain(self.baseline)}"
        yield ""
        yield f"{self.num_sentences:,} sentences. Intervals are of 95 %, p is of paired approximate"
        yield "randomisation, two-sided. Of WER less is better."
        for one in self.systems:
            yield ""
            yield f"## {_plain(one.name)}"
            for language, differences in one.differences.items():
                yield ""
                yield f"| {_plain(language)} | baseline | system | difference | interval | p |"
                yield "|---|---|---|---|---|---|"
                yield from map(_row, differences.values())
                yield ""
                yield from dict.fromkeys(
                    f"- {name}: `{found.signature}`"
                    for name, found in differences.items()
                    if "BLEU-4" not in differences or not re.fullmatch("BLEU-[123]", name)
                )
            yield ""
            yield (
                f"Better in {one.wins:,} sentences, worse in {one.losses:,}, equal in"
                f" {one.ties:,} (by {SENTENCE_METRIC})."
            )
            if one.sentences:
                yield ""
                yield "Sentences that differ most:"
            for row in one.sentences:
                yield ""
                yield f"- {_plain(row.id)}: {row.difference:+.1f}"
                for text in row.references:
                    yield f"    - reference: {_plain(text)}"
                yield f"    - baseline: {_plain(row.baseline)}"
                yield f"    - system: {_plain(row.system)}"


def _row(found: Difference) -> str:
    digits = 3 if "scale:1" in found.signature.split("|") else 2
    values = f"{found.baseline:.{digits}f} | {found.system:.{digits}f}"
    interval = f"{found.low:+.{digits}f} to {found.high:+.{digits}f}"
    return (
        f"| {found.metric} | {values} | {found.difference:+.{digits}f} | {interval} |"
        f" {found.p:.4f} |"
    )


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


@dataclass(frozen=True)
class _System:
    """What is read of a system.

    `language` and `normalisation` are those of the scores beside its predictions, if any.
    """

    name: str
    path: Path
    hypotheses: list[str]
    language: str | None
    normalisation: str | None


def compare_files(
    systems: Sequence[Path],
    *,
    split: str = "test",
    references: Sequence[Path] = (),
    language: str | None = None,
    normalisation: str | None = None,
    more: MoreMeasures | None = None,
    trials: int = TRIALS,
    seed: int = SEED,
    sentences: int = SENTENCES,
) -> Comparison:
    """Compare systems with the first of them.

    Args:
        systems: the baseline and others: `predictions.jsonl`, a folder that `evaluate` wrote, a run
            folder that has one with the split's name, or text, one sentence a line.
        split: which of a run's evaluations.
        references: files of them, see `score_files`; those of the JSON lines by default.
        language: of the texts; that of the scores beside the predictions by default.
        normalisation: see `metrics.score`; that of these scores by default.
        more: further measures.
        trials: see `paired_differences`.
        seed: see `paired_differences`.
        sentences: how many of those that differ most to tell.

    Raises:
        InputError: there are fewer than two systems, one cannot be read, its sentences are not of
            the same clips, are none, or have other references or languages, a clip has two, or
            nobody says the language.
    """
    if len(systems) < 2:
        raise InputError(f"systems: found {len(systems)}, expected a baseline and others")
    read = [_read(Path(path), split) for path in systems]
    base = read[0]
    count = len(base.hypotheses)
    if not count:
        raise InputError(f"{base.path}: found no sentence, expected at least one")
    wanted = _references(read, references)
    given, language = language, language or _agreed(read, "language")
    if language is None:
        raise InputError(
            f"{base.path}: found no language, expected --language CODE, as de, en, zh, or a"
            f" folder of evaluate with its {METRICS}"
        )
    normalisation = normalisation or _agreed(read, "normalisation") or DEFAULT_NORMALISATION
    told = _told_languages(read, use_scores=given is None)
    languages = [code or language for code in told]
    known = [read_ids(one.path) for one in read]  # of all, as each may have a clip twice
    ids = next(filter(None, known), None)
    if more is not None and ids is None:
        raise InputError(f"{base.path}: found sentences without ids, expected JSON lines with ids")
    names = ids or [f"sentence {number}" for number in range(1, count + 1)]
    texts = [[*normalise(own, normalisation)] for own in wanted]
    base_scores = _sentence_scores(base, texts, languages, normalisation)
    compared = []
    for system in read[1:]:
        differences = {}
        for code in dict.fromkeys(languages):
            chosen = [index for index, found in enumerate(languages) if found == code]
            differences[code] = paired_differences(
                [base.hypotheses[index] for index in chosen],
                [system.hypotheses[index] for index in chosen],
                [wanted[index] for index in chosen],
                code,
                trials,
                seed,
                normalisation=normalisation,
                more=more([names[index] for index in chosen], code) if more else (),
            )
        scores = _sentence_scores(system, texts, languages, normalisation)
        gains = [own - other for own, other in zip(scores, base_scores, strict=True)]
        order = sorted(range(count), key=lambda index: -abs(gains[index]))
        wins, losses = sum(gain > _TIE for gain in gains), sum(gain < -_TIE for gain in gains)
        compared.append(
            Compared(
                system.name,
                differences,
                wins,
                losses,
                count - wins - losses,
                tuple(
                    SentenceDifference(
                        names[index],
                        gains[index],
                        tuple(wanted[index]),
                        base.hypotheses[index],
                        system.hypotheses[index],
                    )
                    for index in order[:sentences]
                    if abs(gains[index]) > _TIE
                ),
            )
        )
    return Comparison(base.name, count, tuple(compared))


def check_output(path: Path, inputs: Sequence[Path], split: str = "test") -> None:
    """Refuse a path to which `write_comparison` cannot write, or where it would harm an input.

    Args:
        path: where the comparison shall go.
        inputs: systems and references.
        split: see `compare_files`.

    Raises:
        InputError: it has another suffix than .md or .json and is no folder, or it is an input.
    """
    if path.suffix.lower() not in _SUFFIXES and (path.is_file() or _has_suffix(path)):
        raise InputError(
            f"{path}: found the ending {path.suffix!r}, expected .md or .json, or a folder"
        )
    targets = _targets(path)
    for one in inputs:
        file = _predictions_of(one, split) if one.is_dir() else one
        read = [file, file.with_name(METRICS)] if file.name == PREDICTIONS else [file]
        for target, other in product(targets, read):
            if target.exists() and other.exists() and target.samefile(other):
                raise InputError(f"{target}: is an input, expected another file to write to")


def _has_suffix(path: Path) -> bool:
    """Whether what is not there yet is named as a file: `runs/v1.2` may be a folder."""
    return not path.is_dir() and re.fullmatch(r"\.[A-Za-z]\w*", path.suffix) is not None


def _targets(path: Path) -> list[Path]:
    if path.suffix.lower() in _SUFFIXES and not path.is_dir():
        return [path]
    return [path / f"comparison{suffix}" for suffix in _SUFFIXES]


def write_comparison(path: Path, found: Comparison) -> None:
    """Write a comparison to a file, by its suffix as JSON or Markdown, or to a folder as both.

    Raises:
        InputError: see `check_output`, as far as no input is concerned.
    """
    check_output(path, ())
    as_json = json.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for target in _targets(path):
        write_text(target, as_json if target.suffix.lower() == ".json" else f"{found}\n")


def _read(path: Path, split: str) -> _System:
    file = _predictions_of(path, split) if path.is_dir() else path
    record = _record(file.with_name(METRICS)) if file.name == PREDICTIONS else {}
    return _System(
        str(path),
        file,
        read_hypotheses(file),
        record.get("language"),
        record.get("normalisation"),
    )


def _predictions_of(folder: Path, split: str) -> Path:
    for file in (folder / PREDICTIONS, folder / split / PREDICTIONS):
        if file.is_file():
            return file
    if (folder / RUN_FILE).is_file():
        raise InputError(
            f"{folder}: found no predictions for the split {split!r}, expected"
            f" {folder / split / PREDICTIONS}: unglossed evaluate {folder} --corpus SPEC"
            f" --split {split} --output {folder / split} writes them"
        )
    raise InputError(
        f"{folder}: found no {PREDICTIONS}, expected a folder that evaluate wrote, or a run folder"
        f" with one named {split!r}"
    )


def _record(path: Path) -> dict[str, str]:
    """Language and normalisation of scores; none where the file is not there, or is another."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        key: found[key] for key in ("language", "normalisation") if isinstance(found.get(key), str)
    }


def _agreed(read: Sequence[_System], name: str) -> str | None:
    """The language or normalisation that the systems' scores tell.

    Raises:
        InputError: they tell several.
    """
    told = {value: one for one in read if (value := getattr(one, name)) is not None}
    if len(told) > 1:
        (first, one), (second, other) = list(told.items())[:2]
        raise InputError(
            f"{one.path} and {other.path}: found {name} {first!r} and {second!r}, expected one:"
            f" --{name} chooses it"
        )
    return next(iter(told), None)


def _references(read: Sequence[_System], files: Sequence[Path]) -> list[list[str]]:
    """For each sentence its references, which are the same for every system.

    Raises:
        InputError: they are not, or there are none.
    """
    base = read[0]
    with_own = [one for one in read if has_references(one.path)]
    if not files and not with_own:
        raise InputError(
            f"{base.path}: found sentences alone, expected references too: --references FILE, or"
            " the predictions.jsonl of evaluate, which has both"
        )
    sources = list(files) or [with_own[0].path]
    for one in read:
        for first in (base, *with_own[:1]):  # text has no order to compare with
            check_order(first.path, one.path)
        if len(one.hypotheses) != len(base.hypotheses):
            raise InputError(
                f"{base.path} and {one.path}: found {len(base.hypotheses)} and"
                f" {len(one.hypotheses)} sentences, expected as many in one as in the other"
            )
    wanted = references_for(base.path, sources, len(base.hypotheses))
    for one in [] if files else with_own[1:]:
        others = references_for(one.path, [one.path], len(one.hypotheses))
        for number, (own, other) in enumerate(zip(wanted, others, strict=True), start=1):
            if own != other:
                raise InputError(
                    f"{sources[0]} and {one.path}: found other references in sentence {number},"
                    f" {_short(own)} and {_short(other)}, expected the same"
                )
    return wanted


def _told_languages(read: Sequence[_System], use_scores: bool) -> list[str]:
    """The language of each sentence as any of the files tells it; empty: none does.

    Args:
        read: the systems.
        use_scores: take for a row that names none the language of the scores beside it.

    Raises:
        InputError: two files tell two languages of the same sentence.
    """
    base = read[0]
    found: list[tuple[str, Path] | None] = [None] * len(base.hypotheses)
    for one in read:
        default = (one.language or "") if use_scores else ""
        rows = read_languages(one.path, default) or [default] * len(found)
        for number, code in enumerate(rows):
            known = found[number]
            if code and known and code != known[0]:
                raise InputError(
                    f"{known[1]} and {one.path}: found the languages {known[0]!r} and {code!r} of"
                    f" sentence {number + 1}, expected the same"
                )
            if code and not known:
                found[number] = code, one.path
    return [known[0] if known else "" for known in found]


def _short(texts: Sequence[str]) -> str:
    return repr(" / ".join(texts)[:60])


def _sentence_scores(
    system: _System,
    references: Sequence[Sequence[str]],
    languages: Sequence[str],
    normalisation: str,
) -> list[float]:
    return [
        max(sentence_bleu(text, other, language) for other in others)
        for text, others, language in zip(
            normalise(system.hypotheses, normalisation), references, languages, strict=True
        )
    ]
