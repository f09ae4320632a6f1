"""The scores of the field: BLEU-1..4, chrF and ROUGE-L, with what a reader needs to compare them.

What is done to the texts before is a normalisation, stated by name with every score; beyond it
nothing is added to or taken from hypothesis or reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unglossed.corpora.languages import has_spaces, tokenisation
from unglossed.errors import InputError
from unglossed.evaluation.normalisation import DEFAULT_NORMALISATION, normalise

ROUGE_BETA = 1.2
"""Weight of recall against precision in the ROUGE-L of COCO captioning."""


@dataclass(frozen=True)
class Scores:
    """The scores of one system on one split, all in 0..100, and how they were computed.

    Attributes:
        bleu1: Corpus BLEU of words, or of characters where words are not spaced.
        bleu2: The same with n-grams up to 2.
        bleu3: The same with n-grams up to 3.
        bleu4: The same with n-grams up to 4.
        chrf: Corpus chrF.
        rouge_l: Mean of `rouge_l` over the samples.
        num_samples: Pairs of hypothesis and reference.
        signature: sacreBLEU's for BLEU-4; BLEU-1..3 differ from it in the order alone.
        tokenizer: sacreBLEU's name of BLEU's tokenisation, such as "13a".
        normalisation: What was done to the texts before, see `evaluation.normalisation`.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    chrf: float
    rouge_l: float
    num_samples: int
    signature: str
    tokenizer: str
    normalisation: str

    @property
    def settings(self) -> str:
        """How the scores were computed, in words: what has to be quoted with them."""
        return (
            f"tokenisation {self.tokenizer}, normalisation {self.normalisation}, {self.signature}"
        )

    def to_dict(self) -> dict[str, float | int | str]:
        """The content of `metrics.json`; values rounded to four places."""
        return {
            "bleu1": round(self.bleu1, 4),
            "bleu2": round(self.bleu2, 4),
            "bleu3": round(self.bleu3, 4),
            "bleu4": round(self.bleu4, 4),
            "chrf": round(self.chrf, 4),
            "rouge_l": round(self.rouge_l, 4),
            "num_samples": self.num_samples,
            "signature": self.signature,
            "tokenizer": self.tokenizer,
            "normalisation": self.normalisation,
        }

    def __str__(self) -> str:
        return (
            f"BLEU-1..4 {self.bleu1:.2f} / {self.bleu2:.2f} / {self.bleu3:.2f} / {self.bleu4:.2f}"
            f"  chrF {self.chrf:.2f}  ROUGE-L {self.rouge_l:.2f}"
            f"  ({self.num_samples} samples, {self.settings})"
        )


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str,
    normalisation: str = DEFAULT_NORMALISATION,
) -> Scores:
    """Score a system's output, one reference a sample, as the papers of the field do.

    BLEU-n is sacreBLEU's corpus BLEU with n-grams up to n, chrF its default (character 6-grams,
    beta 2), ROUGE-L the mean of `rouge_l`.

    Args:
        hypotheses: the system's sentences; an empty one counts as such.
        references: the raw sentences of the corpus, in the same order; none is blank.
        language: of the text, a code such as `de`; it decides the tokenisation.
        normalisation: name of what is done to both before, see `evaluation.normalisation`.

    Raises:
        InputError: no samples, differing lengths, a blank reference, or an unknown language or
            normalisation.
    """
    tokenize = tokenisation(language)
    found, wanted = normalise(hypotheses, normalisation), normalise(references, normalisation)
    if len(found) != len(wanted):
        raise InputError(
            f"hypotheses and references: found {len(found)} and {len(wanted)} sentences,"
            " expected as many of one as of the other"
        )
    if not found:
        raise InputError("hypotheses: found no sentence, expected at least one")
    if blank := blank_lines(wanted):
        raise InputError(
            f"references: found no text in {len(blank)} of {len(wanted)} (first: sentence"
            f" {blank[0]}), expected a sentence in each"
        )
    bleu: list[float] = []
    for order in (1, 2, 3, 4):
        # Only the last order may warn about references that end in " .": once is enough.
        metric = BLEU(max_ngram_order=order, tokenize=tokenize, force=order < 4)
        bleu.append(metric.corpus_score(found, [wanted]).score)
    rouge = [rouge_l(one, other, language) for one, other in zip(found, wanted, strict=True)]
    return Scores(
        bleu1=bleu[0],
        bleu2=bleu[1],
        bleu3=bleu[2],
        bleu4=bleu[3],
        chrf=CHRF().corpus_score(found, [wanted]).score,
        rouge_l=sum(rouge) / len(rouge),
        num_samples=len(found),
        signature=str(metric.get_signature()),
        tokenizer=tokenize,
        normalisation=normalisation,
    )


def blank_lines(sentences: Sequence[str]) -> list[int]:
    """Which sentences have no text, counted from 1."""
    return [number for number, text in enumerate(sentences, start=1) if not text.strip()]


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
