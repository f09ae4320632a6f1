"""The scores of the field, on the texts as they are: BLEU-1..4, chrF and ROUGE-L.

Nothing is added to or taken from a reference; who needs another normalisation applies it before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from unglossed.errors import InputError

SPACED_LANGUAGES = frozenset(
    "cs da de el en es et fi fr hu it lt lv nl no pl pt ro ru sk sl sv tr uk".split()
)
"""Languages that write spaces between words: sacreBLEU's `13a` tokenises them."""

ROUGE_BETA = 1.2
"""Weight of recall against precision in the ROUGE-L of COCO captioning."""


@dataclass(frozen=True)
class Scores:
    """The scores of one system on one split, all in 0..100.

    `signature` is sacreBLEU's for BLEU-4; BLEU-1..3 differ from it in the order alone.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    chrf: float
    rouge_l: float
    num_samples: int
    signature: str

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
        }

    def __str__(self) -> str:
        return (
            f"BLEU-1..4 {self.bleu1:.2f} / {self.bleu2:.2f} / {self.bleu3:.2f} / {self.bleu4:.2f}"
            f"  chrF {self.chrf:.2f}  ROUGE-L {self.rouge_l:.2f}"
            f"  ({self.num_samples} samples, {self.signature})"
        )


def bleu_tokenizer(language: str) -> str:
    """sacreBLEU's tokenizer for a language: `zh` splits characters, `13a` is for spaced ones.

    Raises:
        InputError: the language is unknown. A guess would be wrong without a sign of it: Chinese
            scored by words gives a few points where characters give twenty.
    """
    code = language.lower().replace("_", "-").split("-")[0]
    if code == "zh":
        return "zh"
    if code in SPACED_LANGUAGES:
        return "13a"
    known = ", ".join(sorted(SPACED_LANGUAGES | {"zh"}))
    raise InputError(f"language: found {language!r}, expected one of {known}")


def score(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Scores:
    """Score a system's output, one reference a sample, as the papers of the field do.

    BLEU-n is sacreBLEU's corpus BLEU with n-grams up to n, chrF its default (character 6-grams,
    beta 2), ROUGE-L the mean of `rouge_l`.

    Args:
        hypotheses: the system's sentences; an empty one counts as such.
        references: the raw sentences of the corpus, in the same order.
        language: of the text, a code such as `de`; it decides the tokenisation.

    Raises:
        InputError: no samples, differing lengths, or an unknown language.
    """
    tokenize = bleu_tokenizer(language)
    if len(hypotheses) != len(references):
        raise InputError(
            f"hypotheses and references: found {len(hypotheses)} and {len(references)} sentences,"
            " expected as many of one as of the other"
        )
    if not hypotheses:
        raise InputError("hypotheses: found no sentence, expected at least one")
    streams = [list(references)]
    bleu: list[float] = []
    for order in (1, 2, 3, 4):
        # Only the last order may warn about references that end in " .": once is enough.
        metric = BLEU(max_ngram_order=order, tokenize=tokenize, force=order < 4)
        bleu.append(metric.corpus_score(list(hypotheses), streams).score)
    chrf = CHRF().corpus_score(list(hypotheses), streams).score
    pairs = zip(hypotheses, references, strict=True)
    rouge = sum(rouge_l(one, other, language) for one, other in pairs) / len(hypotheses)
    signature = str(metric.get_signature())
    return Scores(bleu[0], bleu[1], bleu[2], bleu[3], chrf, rouge, len(hypotheses), signature)


def sentence_bleu(hypothesis: str, reference: str, language: str) -> float:
    """BLEU-4 of one sentence in 0..100, to look at samples with; its mean is not corpus BLEU.

    The order is cut to what the sentence has, else every sentence of three words would score 0.
    """
    metric = BLEU(tokenize=bleu_tokenizer(language), effective_order=True, force=True)
    return float(metric.sentence_score(hypothesis, [reference]).score)


def rouge_l(hypothesis: str, reference: str, language: str) -> float:
    """ROUGE-L of one sentence in 0..100, as in COCO captioning and thus in this field.

    With the longest common subsequence of m tokens, precision P = m / len(hypothesis) and recall
    R = m / len(reference), the score is (1 + b^2) P R / (R + b^2 P), b = 1.2 (Lin, "ROUGE: a
    package for automatic evaluation of summaries", 2004, section 3.1; the value of b and the
    splitting are those of the COCO caption evaluation, Chen et al., arXiv 1504.00325).

    Tokens are what lies between single spaces, case and punctuation untouched: two spaces in a
    row make an empty token, there as here. Chinese is split into characters, spaces left out.
    """
    if bleu_tokenizer(language) == "zh":
        found, wanted = list("".join(hypothesis.split())), list("".join(reference.split()))
    else:
        found, wanted = hypothesis.split(" "), reference.split(" ")
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
