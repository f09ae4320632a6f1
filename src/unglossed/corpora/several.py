"""Several corpora as one, by a file that lists their specs, a line each.

    # Texts in three languages, for a recipe that has `languages`.
    phoenix14t:PHOENIX-2014-T-release-v3
    csl_daily:CSL-Daily
    openasl:/data/OpenASL?missing=skip

Which rows there are is the business of their readers; here they get ids that differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from unglossed.corpora.reading import ALL, Reading, read_lines
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError

KIND = "several"


def read_several(reading: Reading) -> Corpus:
    """Read the corpora that a text file lists, by their specs.

    Paths are relative to the file's folder. Empty lines and those that begin with # are passed
    over. An id gets the kind of its corpus in front, `csl_daily/S000020_P0000_T00`, and where a
    kind is there twice its number, `table2/...`. `?language=` takes the rows of one language.

    Raises:
        InputError: A line is no spec, its corpus cannot be read, or the corpora are scored with
            different normalisations.
    """
    corpora = dict(_read_each(reading))
    if not corpora:
        raise InputError(f"{reading.root}: found no corpus, expected a spec, kind:path, a line")
    rules = {name: corpus.normalisation for name, corpus in corpora.items()}
    if len(set(rules.values())) > 1:
        told = ", ".join(f"{rule} of {name}" for name, rule in rules.items())
        raise InputError(
            f"{reading.root}: found corpora that are scored in different ways ({told}), expected"
            " one normalisation"
        )
    splits: dict[str, list[Sample]] = {}
    for name, corpus in corpora.items():
        for split, rows in corpus.splits.items():
            chosen = [row for row in rows if reading.language in (None, ALL, row.language)]
            if chosen:
                splits.setdefault(split, []).extend(
                    replace(row, id=f"{name}/{row.id}") for row in chosen
                )
    counts = Counter(row.language for rows in splits.values() for row in rows)
    if not counts:
        known = ", ".join(sorted({code for one in corpora.values() for code in one.languages}))
        raise InputError(
            f"{reading.root}: found texts in {known}, not in {reading.language} (?language=)"
        )
    return Corpus(
        spec=reading.spec,
        root=reading.root,
        name=KIND,
        language=counts.most_common(1)[0][0],
        splits={split: tuple(rows) for split, rows in splits.items()},
        normalisation=next(iter(rules.values())),
        notes=tuple(f"{name}: {note}" for name, one in corpora.items() for note in one.notes),
        has_media=all(one.has_media for one in corpora.values()),
    )


def _read_each(reading: Reading) -> Iterator[tuple[str, Corpus]]:
    """Each corpus with the name that stands in front of its ids."""
    from unglossed.corpora.registry import read_corpus  # which has this kind, too

    seen: Counter[str] = Counter()
    for number, line in read_lines(reading, reading.root):
        spec = line.strip()
        if not spec or spec.startswith("#"):
            continue
        where = f"{reading.root}, line {number}"
        kind, colon, rest = spec.partition(":")
        if kind == KIND:
            raise InputError(f"{where}: found a list of corpora, expected a corpus")
        path, mark, options = rest.partition("?")
        if path:
            path = str(reading.root.parent / Path(path).expanduser())
        try:
            corpus = read_corpus(
                f"{kind}{colon}{path}{mark}{options}",
                reading.faults,
                only=reading.only,
                texts="required" if reading.needs_text else "optional",
            )
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        seen[kind] += 1
        yield f"{kind}{seen[kind]}" if seen[kind] > 1 else kind, corpus
