"""The scores of the field: BLEU-1..4, chrF and ROUGE-L, with what a reader needs to compare them.

What is done to the texts before is a normalisation, stated by name with every score; beyond it
nothing is added to or taken from hypothesis or reference.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Any, TypeVar

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unglossed.corpora.languages import has_spaces, tokenisation
from unglossed.errors import InputError
from unglossed.evaluation.off_target import off_target

V = TypeVar("V")

DEFAULT_NORMALISATION = "nfc.v1"


def nfc(text: str) -> str:
    """Unicode NFC, nothing else: case, spaces, punctuation and full-width forms stay."""
    return unicodedata.normalize("NFC", text)


def nfc_no_final_stop(text: str) -> str:
    """Unicode NFC, and without one full stop at the end that has a space before it.

    Label files that circulate append " ." to every sentence. It is always right, and so raises
    every score. A full stop that follows a word is the writer's own and stays.
    """
    return nfc(text).removesuffix(" .")


def nfkc_plain_signs(text: str) -> str:
    """Unicode NFKC, and one sign for each of those that are written in several ways.

    NFKC makes full-width letters, digits and marks narrow, ligatures letters, and every kind of
    space a plain one. Beyond it apostrophes and single quotes become ', double quotes ", hyphens
    and dashes -, and signs that nobody sees (soft hyphen, zero-width space, byte order mark) go.
    """
    return unicodedata.normalize("NFKC", text.translate(_PLAIN))


NFKC_PLAIN_SIGNS = "nfkc_plain_signs.v1"

_PLAIN = {
    **dict.fromkeys(
        map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc\u02b9\u0060\u00b4\uff07\uff40"), "'"
    ),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u301d\u301e\u301f\uff02"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff")),
}

NORMALISATIONS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        DEFAULT_NORMALISATION: nfc,
        "nfc_no_final_stop.v1": nfc_no_final_stop,
        NFKC_PLAIN_SIGNS: nfkc_plain_signs,
    }
)
"""Every normalisation by its name."""


def normalise(texts: Iterable[str], name: str = DEFAULT_NORMALISATION) -> list[str]:
    """Apply a normalisation to sentences.

    Raises:
        InputError: There is none of this name; the message lists those there are.
    """
    if name not in NORMALISATIONS:
        raise InputError(
            f"normalisation: found {name!r}, expected one of {', '.join(NORMALISATIONS)}"
        )
    change = NORMALISATIONS[name]
    return [change(text) for text in texts]


Reference = str | Sequence[str]
"""What a sample should say: a sentence, or several each of which is right."""


def read_texts(texts: Iterable[Any], name: str) -> list[str]:
    """Texts as a list.

    Args:
        texts: a list of them, or whatever gives one after the other.
        name: of the argument, for the error.

    Raises:
        InputError: a single text, whose characters are no sentences, or something else.
    """
    if _is_no_row(texts):
        raise InputError(f"{name}: found {_kind(texts)}, expected a list of texts")
    found = list(texts)
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str):
            raise InputError(f"{name}, sentence {number}: found {_kind(text)}, expected a text")
    return found


def _is_no_row(texts: Any) -> bool:
    """Whether something has no texts, or none in an order that says what belongs together."""
    return isinstance(texts, (str, bytes, Mapping, Set)) or not isinstance(texts, Iterable)


def read_references(references: Iterable[Any]) -> list[list[str]]:
    """For each sample its references, of which there may be one.

    Raises:
        InputError: there is none for a sample, or something is no text.
    """
    if _is_no_row(references):
        raise InputError(
            f"references: found {_kind(references)}, expected a list with a text, or a list of"
            " texts, for each hypothesis"
        )
    found = []
    for number, texts in enumerate(references, start=1):
        if isinstance(texts, str):
            found.append([texts])
            continue
        own = read_texts(texts, f"references, sentence {number}")
        if not own:
            raise InputError(f"references, sentence {number}: found none, expected at least one")
        found.append(own)
    return found


def blank_lines(sentences: Sequence[str]) -> list[int]:
    """Which sentences have no text, counted from 1."""
    return [number for number, text in enumerate(sentences, start=1) if not text.strip()]


def _kind(value: object) -> str:
    return "a single text" if isinstance(value, str) else f"{type(value).__name__}"


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits that turn the hypotheses into the references, in percent of the references' words.

    Substitutions, deletions and insertions count alike, over the whole split; it may be over 100.

    Args:
        hypotheses: words separated by spaces, as many texts as `references`.
        references: at least one of them has a word.
    """
    pairs = [(h.split(), r.split()) for h, r in zip(hypotheses, references, strict=True)]
    edits = sum(edit_distance(hypothesis, reference) for hypothesis, reference in pairs)
    return 100 * edits / sum(len(reference) for _, reference in pairs)


def edit_distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Fewest words to exchange, leave out or put in (Levenshtein)."""
    above = list(range(len(second) + 1))
    for row, word in enumerate(first, start=1):
        current = [row]
        for column, other in enumerate(second, start=1):
            change = above[column - 1] + (word != other)
            current.append(min(change, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]


ROUGE_BETA = 1.2
"""Weight of recall against precision in the ROUGE-L of COCO captioning."""


@dataclass(frozen=True)
class Scores:
    """The scores of one system on one split, all in 0..100, and how they were computed.

    BLEU-n is None where it is not defined: no reference has n words, so that not even a perfect
    text could score. JSON has null there, and tables `n/a`.

    Attributes:
        bleu1: Corpus BLEU of words, or of characters where words are not spaced.
        bleu2: The same with n-grams up to 2.
        bleu3: The same with n-grams up to 3.
        bleu4: The same with n-grams up to 4.
        chrf: Corpus chrF.
        rouge_l: Mean of `rouge_l` over the samples, each with its best reference.
        num_samples: Hypotheses, each with its references.
        signature: sacreBLEU's for BLEU-4; BLEU-1..3 differ from it in the order alone.
        tokenizer: sacreBLEU's name of BLEU's tokenisation, such as "13a".
        normalisation: What was done to the texts before, see `NORMALISATIONS`.
        languages: The scores of each language by its code, where there are several: then the scores
            above are the means of these, and `signature` and `tokenizer` name each language's.
        off_target: Percentage of texts in another language than the one that was asked for, of a
            system that writes several; None: not told.
    """

    bleu1: float | None
    bleu2: float | None
    bleu3: float | None
    bleu4: float | None
    chrf: float
    rouge_l: float
    num_samples: int
    signature: str
    tokenizer: str
    normalisation: str
    languages: Mapping[str, Scores] = field(default_factory=dict)
    off_target: float | None = None

    @property
    def settings(self) -> str:
        """How the scores were computed, in words: what has to be quoted with them."""
        return (
            f"tokenisation {self.tokenizer}, normalisation {self.normalisation}, {self.signature}"
        )

    @property
    def bleu(self) -> tuple[float | None, ...]:
        """BLEU-1 to BLEU-4."""
        return self.bleu1, self.bleu2, self.bleu3, self.bleu4

    def to_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`; values rounded to four places.

        `languages` is there where there are several, with such a dict for each.
        """
        content: dict[str, Any] = {
            f"bleu{order}": None if value is None else round(value, 4)
            for order, value in enumerate(self.bleu, start=1)
        }
        content |= {
            "chrf": round(self.chrf, 4),
            "rouge_l": round(self.rouge_l, 4),
            "num_samples": self.num_samples,
            "signature": self.signature,
            "tokenizer": self.tokenizer,
            "normalisation": self.normalisation,
        }
        if self.off_target is not None:
            content["off_target"] = round(self.off_target, 4)
        if self.languages:
            content["languages"] = {code: own.to_dict() for code, own in self.languages.items()}
        return content

    def __str__(self) -> str:
        if self.languages:
            rows = [f"{code}: {own}" for code, own in self.languages.items()]
            return "\n".join([*rows, f"mean of {len(rows)} languages: {self._values()}"])
        return f"{self._values()}  ({self.num_samples} samples, {self.settings})"

    def _values(self) -> str:
        values = f"BLEU-1..4 {' / '.join(map(format_score, self.bleu))}"
        if undefined := note_undefined(self):
            values += f" ({undefined})"
        values += f"  chrF {self.chrf:.2f}  ROUGE-L {self.rouge_l:.2f}"
        if self.off_target is not None:
            values += f"  off-target {self.off_target:.2f} %"
        return values


def format_score(value: float | None, digits: int = 2) -> str:
    """A score as tables show it: `n/a` where it is not defined."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def note_undefined(scores: Scores) -> str | None:
    """Why some BLEU is not defined; None: all are."""
    missing = [order for order, value in enumerate(scores.bleu, start=1) if value is None]
    if not missing:
        return None
    unit = "words" if scores.tokenizer == "13a" else "words or characters"
    return f"n/a: no reference has {missing[0]} {unit}"


def score(
    hypotheses: Iterable[str],
    references: Iterable[Reference],
    language: str,
    normalisation: str = DEFAULT_NORMALISATION,
) -> Scores:
    """Score a system's output as the papers of the field do, with one reference a sample or more.

        >>> scores = unglossed.score(["es regnet im norden"], ["es regnet im süden"], "de")
        >>> f"{scores.bleu[0]:.1f}", scores.tokenizer, scores.num_samples
        ('75.0', '13a', 1)

    BLEU-n is sacreBLEU's corpus BLEU with n-grams up to n, chrF its default (character 6-grams,
    beta 2), ROUGE-L the mean of `rouge_l`. Of several references BLEU counts the n-grams of all,
    chrF and ROUGE-L take the one that fits a hypothesis best. (COCO's ROUGE-L takes the best
    precision and the best recall, which may come from two references.)

    Args:
        hypotheses: the system's sentences; an empty one counts as such.
        references: for each hypothesis, in the same order, the raw sentence of the corpus, or a
            list of sentences each of which is right, and which may be longer for some than for
            others; none is blank.
        language: of the text, a code such as `de`; it decides the tokenisation.
        normalisation: name of what is done to both before, see `NORMALISATIONS`.

    Raises:
        InputError: no samples, differing lengths, a blank reference, something that is no text,
            or an unknown language or normalisation.
    """
    tokenize = tokenisation(language)
    found = normalise(read_texts(hypotheses, "hypotheses"), normalisation)
    wanted = [normalise(texts, normalisation) for texts in read_references(references)]
    if len(found) != len(wanted):
        raise InputError(
            f"hypotheses and references: found {len(found)} and {len(wanted)} sentences,"
            " expected as many of one as of the other"
        )
    if not found:
        raise InputError("hypotheses: found no sentence, expected at least one")
    if blank := [number for number, texts in enumerate(wanted, start=1) if blank_lines(texts)]:
        raise InputError(
            f"references: found no text in {len(blank)} of {len(wanted)} (first: sentence"
            f" {blank[0]}), expected a sentence in each"
        )
    streams = list(zip_longest(*wanted))  # sacreBLEU's form: None where a sample has fewer
    bleu: list[float | None] = []
    for order in (1, 2, 3, 4):
        # Only the last order may warn about references that end in " .": once is enough.
        metric = BLEU(max_ngram_order=order, tokenize=tokenize, force=order < 4)
        value = metric.corpus_score(found, streams).score
        defined = have_words(wanted, order, metric.tokenizer)
        bleu.append(value if defined else None)
    rouge = [
        max(rouge_l(one, other, language) for other in others)
        for one, others in zip(found, wanted, strict=True)
    ]
    bleu1, bleu2, bleu3, bleu4 = bleu
    return Scores(
        bleu1=bleu1,
        bleu2=bleu2,
        bleu3=bleu3,
        bleu4=bleu4,
        chrf=CHRF().corpus_score(found, streams).score,
        rouge_l=sum(rouge) / len(rouge),
        num_samples=len(found),
        signature=str(metric.get_signature()),
        tokenizer=tokenize,
        normalisation=normalisation,
    )


def score_by_language(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    languages: Sequence[str],
    normalisation: str = DEFAULT_NORMALISATION,
    *,
    known: Sequence[str] = (),
) -> Scores:
    """Score texts of several languages: each by its own tokenisation, and the means of these.

    Args:
        hypotheses: see `score`.
        references: see `score`.
        languages: for each hypothesis the language of its references.
        normalisation: see `score`.
        known: all languages that the system writes, one of which was asked for: where there are
            several, it is told how many texts are in another of them.

    Returns:
        `score` of the texts where they are of one language.

    Raises:
        InputError: see `score`.
    """
    own: dict[str, Scores] = {}
    for code, chosen in rows_by_language(languages).items():
        texts = [hypotheses[index] for index in chosen]
        own[code] = score(texts, [references[index] for index in chosen], code, normalisation)
        away = off_target(texts, [code] * len(texts), known) if len(known) > 1 else None
        if away is not None:
            own[code] = replace(own[code], off_target=100 * sum(away) / len(away))
    if len(own) == 1:
        return next(iter(own.values()))
    return Scores(
        bleu1=_mean([scores.bleu1 for scores in own.values()]),
        bleu2=_mean([scores.bleu2 for scores in own.values()]),
        bleu3=_mean([scores.bleu3 for scores in own.values()]),
        bleu4=_mean([scores.bleu4 for scores in own.values()]),
        chrf=sum(scores.chrf for scores in own.values()) / len(own),
        rouge_l=sum(scores.rouge_l for scores in own.values()) / len(own),
        num_samples=sum(scores.num_samples for scores in own.values()),
        signature="; ".join(f"{code}: {scores.signature}" for code, scores in own.items()),
        tokenizer="; ".join(f"{code}: {scores.tokenizer}" for code, scores in own.items()),
        normalisation=normalisation,
        languages=own,
        off_target=_mean([scores.off_target for scores in own.values()]),
    )


def rows_by_language(languages: Sequence[str]) -> dict[str, list[int]]:
    """The numbers of the rows of each language, in the order in which the languages first come."""
    rows: dict[str, list[int]] = {code: [] for code in languages}
    for index, code in enumerate(languages):
        rows[code].append(index)
    return rows


def each_language(
    languages: Sequence[str],
    work: Callable[[str | None, list[int]], Sequence[V]],
    known: Sequence[str],
) -> list[V]:
    """What a function gives for each row, of which it is given those of a language at a time.

    Args:
        languages: of the rows.
        work: is given a language and the numbers of its rows; gives one result for each. Of a
            system that writes one language it is given no language and all rows.
        known: all languages that the system writes.
    """
    if len(known) < 2:
        return [*work(None, [*range(len(languages))])]
    found: dict[int, V] = {}
    for code, rows in rows_by_language(languages).items():
        found |= zip(rows, work(code, rows), strict=True)
    return [found[row] for row in range(len(languages))]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where one of the values is not defined."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if len(defined) == len(values) else None


def have_words(
    references: Sequence[Sequence[str]], count: int, split: Callable[[str], str]
) -> bool:
    """Whether any reference has so many words."""
    return any(len(split(text).split()) >= count for texts in references for text in texts)


def note_blank(hypotheses: Sequence[str]) -> str | None:
    """A note on how many hypotheses are blank, which count as nothing right; None: none is."""
    blank = blank_lines(hypotheses)
    if not blank:
        return None
    return (
        f"{len(blank)} of {len(hypotheses)} hypotheses are blank (first: line {blank[0]}) and"
        " count as nothing right"
    )


def sentence_bleu(hypothesis: str, reference: str, language: str) -> float:
    """BLEU-4 of one sentence in 0..100, to look at samples with; its mean is not corpus BLEU.

    The order is cut to what the sentence has, else every sentence of three words would score 0.
    """
    metric = BLEU(tokenize=tokenisation(language), effective_order=True, force=True)
    return float(metric.sentence_score(hypothesis, [reference]).score)


def rouge_l(hypothesis: str, reference: str, language: str) -> float:
    """ROUGE-L of one sentence in 0..100, as in COCO captioning and thus in this field.

    With the longest common subsequence of m tokens, precision P = m / len(hypothesis) and recall
    R = m / len(reference), the score is (1 + b^2) P R / (R + b^2 P), b = 1.2 (Lin, "ROUGE: a
    package for automatic evaluation of summaries", 2004, section 3.1; the value of b and the
    splitting are those of the COCO caption evaluation, Chen et al., arXiv 1504.00325).

    Tokens are what lies between single spaces, case and punctuation untouched: two spaces in a
    row make an empty token, there as here. Languages that write no spaces between words, such as
    Chinese, are split into characters, spaces left out.
    """
    if has_spaces(language):
        found, wanted = hypothesis.split(" "), reference.split(" ")
    else:
        found, wanted = list("".join(hypothesis.split())), list("".join(reference.split()))
    common = _longest_common_subsequence(found, wanted)
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    weight = ROUGE_BETA**2
    return 100.0 * (1 + weight) * precision * recall / (recall + weight * precision)


def _longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of tokens found in both, in order, gaps allowed."""
    lengths = [0] * (len(second) + 1)
    for token in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = lengths[column]
            lengths[column] = diagonal + 1 if token == other else max(above, lengths[column - 1])
            diagonal = above
    return lengths[-1]
