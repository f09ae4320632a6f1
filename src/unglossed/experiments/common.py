"""What experiments on the generated corpus share: its size and the scoring of a test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unglossed.corpora.sample import Corpus, Sample
from unglossed.evaluation.metrics import score
from unglossed.evaluation.report import ScoreRow
from unglossed.synthetic.corpus import read_meanings
from unglossed.synthetic.meaning import Meaning
from unglossed.synthetic.parsing import slot_f1_meanings
from unglossed.synthetic.yardsticks import ceiling, consensus

NUM_SENTENCES = 1800
LEVEL = 1
WIDTH, HEIGHT = 84, 104
SPLITS = ("test_seen", "test")


@dataclass(frozen=True)
class TestSplit:
    """A split of the generated corpus with what only a generated one knows: the meanings."""

    name: str
    samples: tuple[Sample, ...]
    meanings: list[Meaning]
    language: str

    @property
    def references(self) -> list[str]:
        """The sentence of each clip."""
        return [sample.text for sample in self.samples]

    def row(self, system: str, hypotheses: Sequence[str], *, yardstick: bool = False) -> ScoreRow:
        """Score what a system wrote, or what stands beside it for comparison: a yardstick."""
        return ScoreRow(
            system,
            self.name,
            score(hypotheses, self.references, self.language),
            slot_f1_meanings(hypotheses, self.meanings, self.language),
            yardstick=yardstick,
        )

    def ceilings(self, seed: int) -> list[ScoreRow]:
        """Yardsticks of who understands everything: another saying, and the typical one."""
        others = ceiling(self.meanings, self.references, self.language, seed)
        typical = consensus(self.meanings, self.language, seed)
        return [
            self.row("ceiling", others, yardstick=True),
            self.row("ceiling, typical saying", typical, yardstick=True),
        ]


def read_test_split(corpus: Corpus, folder: Path, name: str) -> TestSplit:
    """A split of a generated corpus with its meanings.

    Args:
        corpus: as read.
        folder: where it lies.
        name: of the split.
    """
    meanings = read_meanings(folder)
    samples = corpus.split(name)
    return TestSplit(name, samples, [meanings[s.id] for s in samples], corpus.language)
