"""Compares a trimmed tokenizer and model with the whole ones; used by `trimming` alone.

The tokens that are kept are chosen so that none of these comparisons fails. They are made all the
same, on the folder as a user will load it: each raises an `InputError` that says what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unglossed.errors import InputError
from unglossed.models.plain_text import encode_texts
from unglossed.models.vocabulary import MARK, Selection, is_written_in, pieces_of


def check_tokens(
    state: Mapping[str, Any], trimmed: PreTrainedTokenizerBase, selection: Selection
) -> None:
    """Check that the trimmed tokenizer, as its class loads it, gives kept tokens their new ids.

    Args:
        state: the whole tokenizer as its JSON file says it.
        trimmed: loaded from the new folder.
        selection: what was kept.
    """
    new_ids = selection.new_ids
    wanted = {token: new_ids[i] for token, i in pieces_of(state).items() if i in new_ids}
    found = trimmed.get_vocab()
    for token in sorted(wanted.keys() | found.keys()):
        if found.get(token) != wanted.get(token):
            raise InputError(
                f"{type(trimmed).__name__} cannot be trimmed: found {token!r} at"
                f" {found.get(token)}, expected {wanted.get(token)}"
            )


def check_texts(
    whole: PreTrainedTokenizerBase,
    trimmed: PreTrainedTokenizerBase,
    texts: Sequence[str],
    selection: Selection,
) -> tuple[float, float]:
    """Check that texts have the same pieces as before and decode to the same.

    Returns:
        Share of the texts that encoding and decoding give back, with the whole tokenizer and with
        the trimmed one. Space at either end does not count.
    """
    new_ids = selection.new_ids
    before, after = encode_texts(whole, texts), encode_texts(trimmed, texts)
    decoded = whole.batch_decode(before, skip_special_tokens=True)
    decoded_after = trimmed.batch_decode(after, skip_special_tokens=True)
    for i, text in enumerate(texts):
        if after[i] != [new_ids.get(token) for token in before[i]]:
            found, wanted = trimmed.tokenize(text), whole.tokenize(text)
            raise InputError(f"text {i + 1}: {text!r}: found pieces {found}, expected {wanted}")
        if decoded_after[i] != decoded[i]:
            raise InputError(
                f"text {i + 1}: {text!r}: decodes to {decoded_after[i]!r}, expected {decoded[i]!r}"
            )
    return _share_unchanged(texts, decoded), _share_unchanged(texts, decoded_after)


def check_words(
    state: Mapping[str, Any],
    whole: PreTrainedTokenizerBase,
    trimmed: PreTrainedTokenizerBase,
    selection: Selection,
) -> int:
    """Check that no dropped piece, read as a word, brings an `<unk>` that was not there before.

    Returns:
        How many there are: dropped pieces of the scripts that the safety set covers.
    """
    new_ids = selection.new_ids
    words = [
        piece.replace(MARK, " ").strip()
        for piece, i in pieces_of(state).items()
        if i not in new_ids and is_written_in(piece, selection.scripts)
    ]
    rows = zip(words, encode_texts(whole, words), encode_texts(trimmed, words), strict=True)
    for word, before, after in rows:
        if trimmed.unk_token_id in after and whole.unk_token_id not in before:
            raise InputError(f"the word {word!r} would become {trimmed.unk_token}")
    return len(words)


@torch.no_grad()
def logits_of(model: PreTrainedModel, token_ids: Sequence[int]) -> Tensor:
    """Logits (tokens, vocabulary) of a text that encoder and decoder both read."""
    tokens = torch.tensor([list(token_ids)])
    logits: Tensor = model(input_ids=tokens, decoder_input_ids=tokens, use_cache=False).logits[0]
    return logits.float()


def check_logits(
    trimmed: PreTrainedModel,
    probes: Sequence[Sequence[int]],
    wanted: Sequence[Tensor],
    selection: Selection,
) -> None:
    """Check that kept tokens have the logits that the whole model gives them.

    Args:
        trimmed: loaded from the new folder.
        probes: token ids of texts, in the whole vocabulary.
        wanted: the whole model's logits of each, (tokens, kept tokens).
        selection: what was kept.
    """
    new_ids = selection.new_ids
    # Rounding of the last product only: all that comes before it is the same.
    tolerance = min(64 * torch.finfo(trimmed.dtype).eps, 0.02)
    for ids, logits in zip(probes, wanted, strict=True):
        difference = (logits_of(trimmed, [new_ids[i] for i in ids]) - logits).abs().max().item()
        if not difference <= tolerance * max(logits.abs().max().item(), 1.0):
            raise InputError(
                f"{type(trimmed).__name__} cannot be trimmed: the logits of kept tokens change by"
                f" {difference:.2g}"
            )


def _share_unchanged(texts: Sequence[str], decoded: Sequence[str]) -> float:
    unchanged = [one.strip() == text.strip() for one, text in zip(decoded, texts, strict=True)]
    return sum(unchanged) / len(texts)
