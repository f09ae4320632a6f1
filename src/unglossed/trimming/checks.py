"""Compares a trimmed tokenizer and model with the whole ones: tokens, texts, words, logits.

Whatever differs is an error that names it. What is kept is chosen in the package, and cut in
`trim.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import decoders
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unglossed.errors import InputError
from unglossed.models.processing import encode_texts
from unglossed.trimming import MARK, Selection, is_byte_level, is_written_in, pieces_of


def check_tokens(
    state: Mapping[str, Any], trimmed: PreTrainedTokenizerBase, selection: Selection
) -> None:
    """Check that the trimmed tokenizer, as its class loads it, gives kept tokens their new ids.

    `state` is that of the whole tokenizer.
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

    That holds for the tokens of a text alone, and with those that begin and end it.

    Returns:
        Share of the texts that encoding and decoding give back, with the whole tokenizer and with
        the trimmed one. Space at either end does not count.
    """
    new_ids = selection.new_ids
    before, after = encode_texts(whole, texts), encode_texts(trimmed, texts)
    decoded = whole.batch_decode(before, skip_special_tokens=True)
    decoded_after = trimmed.batch_decode(after, skip_special_tokens=True)
    closed, closed_after = whole(list(texts))["input_ids"], trimmed(list(texts))["input_ids"]
    for i, text in enumerate(texts):
        wanted = [new_ids.get(token) for token in closed[i]]
        # A text may name a token that is dropped: encode_texts spells it.
        if after[i] != [new_ids.get(token) for token in before[i]] or (
            None not in wanted and closed_after[i] != wanted
        ):
            found, pieces = (
                [one.convert_ids_to_tokens(ids) for ids in rows]
                for one, *rows in (
                    (trimmed, after[i], closed_after[i]),
                    (whole, before[i], closed[i]),
                )
            )
            differs = int(found[0] == pieces[0])
            raise InputError(
                f"text {i + 1}: {text!r}: found pieces {found[differs]}, expected {pieces[differs]}"
            )
        if decoded_after[i] != decoded[i]:
            raise InputError(
                f"text {i + 1}: {text!r}: decodes to {decoded_after[i]!r}, expected {decoded[i]!r}"
            )

    def unchanged(rows: Sequence[str]) -> float:
        pairs = zip(rows, texts, strict=True)
        return sum(one.strip() == text.strip() for one, text in pairs) / len(texts)

    return unchanged(decoded), unchanged(decoded_after)


def check_words(
    state: Mapping[str, Any],
    whole: PreTrainedTokenizerBase,
    trimmed: PreTrainedTokenizerBase,
    selection: Selection,
) -> int:
    """Check that every dropped piece, read as a word, can be written as before.

    That is: no `<unk>` where there was none, and the same text after decoding.

    Returns:
        How many there are: dropped pieces of the scripts that the safety set covers. Those of
        byte-level BPE that are no whole characters are none.
    """
    words = _dropped_words(state, selection)
    if not words:
        return 0
    before, after = encode_texts(whole, words), encode_texts(trimmed, words)
    decoded = whole.batch_decode(before), trimmed.batch_decode(after)
    for word, old, new, text, found in zip(words, before, after, *decoded, strict=True):
        if whole.unk_token_id in old:
            continue
        if trimmed.unk_token_id in new:
            raise InputError(f"the word {word!r} would become {trimmed.unk_token}")
        if text != found:
            raise InputError(f"the word {word!r} would become {found!r}, expected {text!r}")
    return len(words)


def _dropped_words(state: Mapping[str, Any], selection: Selection) -> list[str]:
    new_ids, added = selection.new_ids, {token["content"] for token in state["added_tokens"]}
    letters = decoders.ByteLevel() if is_byte_level(state) else None
    words = []
    for piece, i in pieces_of(state).items():
        if i in new_ids or not is_written_in(piece, selection.scripts):
            continue
        if piece in added or letters is None:
            word = piece.replace(MARK, " ")
        else:
            word = letters.decode([piece])
            if "\ufffd" in word:
                continue
        words.append(word.strip() or word)
    return words


@torch.no_grad()
def logits_of(model: PreTrainedModel, token_ids: Sequence[int]) -> Tensor:
    """Logits (tokens, vocabulary) of a text; encoder and decoder both read it, where there are."""
    tokens = torch.tensor([list(token_ids)])
    read = {"input_ids": tokens}
    if model.config.is_encoder_decoder:
        read["decoder_input_ids"] = tokens
    logits: Tensor = model(**read, use_cache=False).logits[0]
    return logits.float()


def check_logits(
    trimmed: PreTrainedModel,
    probes: Sequence[Sequence[int]],
    wanted: Sequence[Tensor],
    selection: Selection,
) -> None:
    """Check that kept tokens have the logits (tokens, kept tokens) that the whole model gives them.

    `probes` are token ids of texts, in the whole vocabulary.
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
