"""Which frames each word attended to: attention of tokens merged into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unglossed.corpora.languages import BY_CHARACTER, CHINESE
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor

UNSPACED_LANGUAGES = CHINESE | BY_CHARACTER
BROKEN_CHARACTER = "\ufffd"
"""What a tokenizer of bytes shows for a character whose bytes are not all there yet."""


@dataclass(frozen=True)
class WordAttention:
    """A word of a translation and its weight on each kept frame; the weights sum to 1."""

    word: str
    weights: tuple[float, ...]


def merge_words(
    processor: TranslatorProcessor, token_ids: Sequence[int], attention: Tensor
) -> tuple[WordAttention, ...]:
    """Merge the tokens of one sentence into words, with the mean of their attention.

    Where a word begins is seen from the text that each further token adds, so that it works alike
    for every kind of tokenizer. In Chinese, which writes no spaces, each token is a word.

    Args:
        processor: its tokenizer made the tokens.
        token_ids: of one sentence; special tokens are left out.
        attention: (tokens, time), a row for each token.
    """
    special = set(processor.tokenizer.all_special_ids)
    rows = [row for row, token in enumerate(token_ids) if token not in special]
    if not rows:
        return ()
    tokens = torch.tensor([token_ids[row] for row in rows])
    unseen = torch.ones(len(rows), len(rows)).triu(1).bool()
    prefixes = processor.decode(tokens.repeat(len(rows), 1).masked_fill(unseen, IGNORED))

    spaced = processor.language not in UNSPACED_LANGUAGES
    starts: list[int] = []
    groups: list[list[int]] = []
    waiting: list[int] = []
    text = ""
    for row, prefix in zip(rows, prefixes, strict=True):
        waiting.append(row)
        start = _shared_length(text, prefix)
        added = prefix[start:]
        if not added.strip() or added.endswith(BROKEN_CHARACTER):
            continue  # a lone space or half a character belongs to what comes next
        if not groups or not spaced or added[0].isspace():
            starts.append(start)
            groups.append([])
        groups[-1] += waiting
        waiting = []
        text = prefix
    ends = [*starts[1:], len(text)]
    return tuple(
        WordAttention(text[start:end].strip(), tuple(attention[group].mean(0).tolist()))
        for start, end, group in zip(starts, ends, groups, strict=True)
    )


def _shared_length(first: str, second: str) -> int:
    """Number of characters with which both texts begin."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
