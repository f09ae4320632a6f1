"""Texts to token ids, and nothing but text: a control token's name in a sentence stays its letters.

Without this, `</s>` in a subtitle ends the label there, and `<pad>` and `<mask>` vanish from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

CONTROL = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")
"""How control tokens look: `</s>`, `<|im_end|>`, `<extra_id_0>`, `[INST]`."""

_HIDDEN = "\ufdd0"
"""Put before a control token's name, so that no text has it: Unicode keeps it out of all texts."""

_SENTINEL = re.compile(r"\u2581?<extra_id_\d+>")
"""T5's sentinels, which are ordinary pieces of mT5's vocabulary."""


@dataclass(slots=True)
class _Control:
    """What is known of a tokenizer's control tokens while it has so many tokens."""

    num_tokens: int
    ids: set[int]
    speller: Tokenizer | None = None


_known: WeakKeyDictionary[PreTrainedTokenizerBase, _Control] = WeakKeyDictionary()


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, none of which is a control token, whatever the texts say.

    `<unk>` alone remains, where a character is not known.

    Args:
        tokenizer: of any kind.
        texts: to encode; what looks like a control token is spelt.

    Returns:
        For each text its ids, without the tokens that begin or end it.
    """
    if not texts:
        return []
    encode = partial(tokenizer, add_special_tokens=False)
    rows: list[list[int]] = [list(row) for row in encode(list(texts))["input_ids"]]
    control = _control_of(tokenizer)
    for number, text in enumerate(texts):
        if control.ids.isdisjoint(rows[number]):
            continue
        if getattr(tokenizer, "backend_tokenizer", None) is None:  # such as ByT5's
            rows[number] = list(encode(text, split_special_tokens=True)["input_ids"])
            continue
        if control.speller is None:
            control.speller = _speller(tokenizer, control.ids)
        rows[number] = control.speller.encode(text).ids
    return rows


def _control_of(tokenizer: PreTrainedTokenizerBase) -> _Control:
    found = _known.get(tokenizer)
    if found is None or found.num_tokens != len(tokenizer):
        added = tokenizer.added_tokens_decoder.items()
        ids = {i for i, token in added if token.special or CONTROL.fullmatch(token.content)}
        ids |= {i for piece, i in tokenizer.get_vocab().items() if _SENTINEL.fullmatch(piece)}
        found = _Control(len(tokenizer), ids.union(tokenizer.all_special_ids))
        _known[tokenizer] = found
    return found


def _speller(tokenizer: PreTrainedTokenizerBase, control: set[int]) -> Tokenizer:
    """A tokenizer's twin in which control tokens have names that no text has.

    The option `split_special_tokens` of transformers is not enough: it keeps text from being cut at
    these names, but a Unigram model has them among its pieces, and the best scores for them.
    """
    names = set(tokenizer.convert_ids_to_tokens(sorted(control)))
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(_hide(state, names)))


def _hide(state: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A tokenizer's state with some tokens renamed and no texts begun, ended or cut by it."""

    def renamed(token: str) -> str:
        return _HIDDEN + token if token in names else token

    model = dict(state["model"])
    if isinstance(model["vocab"], list):
        model["vocab"] = [[renamed(piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {renamed(piece): i for piece, i in model["vocab"].items()}
    if model.get("unk_token"):
        model["unk_token"] = renamed(model["unk_token"])
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if names.isdisjoint([*pair, "".join(pair)])]
    added = [token | {"content": renamed(token["content"])} for token in state["added_tokens"]]
    nothing = {"post_processor": None, "truncation": None, "padding": None}
    return {**state, **nothing, "model": model, "added_tokens": added}
