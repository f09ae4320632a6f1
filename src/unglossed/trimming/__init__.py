"""Which tokens of a tokenizer are kept for a text, and the tokenizer cut to them.

Works on the serialised state of the tokenizers library: a Unigram vocabulary (mBART, mBART-50, T5,
mT5), byte-pair merges over SentencePiece's pieces (NLLB, Llama 2, Gemma), or over bytes (Llama 3,
Qwen, GPT-2). The model's rows are cut by `trim.py`, and `checks.py` compares the result.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

from unglossed.errors import InputError
from unglossed.models.processing import encode_texts

MARK = "\u2581"
"""SentencePiece's word boundary, which stands where a space stood."""

MOST_UNKNOWN = 0.1
"""Share of `<unk>` among the tokens of texts above which a tokenizer does not suit them."""
_NUM_NAMED = 5

_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
_RESERVED = re.compile(rf"{MARK}?<(?:0x[0-9A-F]{{2}}|extra_id_\d+)>")
"""Pieces that stand for a byte, and T5's sentinels where they are ordinary pieces (mT5)."""

_OF_ANY_SCRIPT = ("COMBINING", "IDEOGRAPHIC", "MODIFIER", "VARIATION")
"""First words of the names of letters and marks that go with more than one script."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The tokens that are kept of a vocabulary."""

    ids: tuple[int, ...]
    """In the whole vocabulary, ascending; the place of one is its new id."""
    merges: tuple[tuple[str, str], ...]
    """Pairs of pieces that are still joined, in their order; empty for Unigram."""
    num_safety: int
    """Kept by the safety rule alone, though the texts do not need them."""
    scripts: tuple[str, ...] | None
    """Whose characters are kept, in alphabetical order; None: of all, as every byte stays that the
    whole tokenizer has."""

    @property
    def new_ids(self) -> dict[int, int]:
        """New id of each kept token, by the old one."""
        return {old: new for new, old in enumerate(self.ids)}


def check_supported(state: Mapping[str, Any], where: str) -> None:
    """Refuse a tokenizer, by its state, made neither of SentencePiece's pieces nor of bytes.

    Raises:
        InputError: it is WordPiece, lacks the word boundary, or gives two tokens one id.
    """
    model, pieces = state["model"], own_pieces(state)
    affixes = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if is_byte_level(state):
        found, fits = f"byte-level {model['type']}", model["type"] == "BPE"
    else:
        found, fits = model["type"], model["type"] in ("Unigram", "BPE") and MARK in pieces.values()
    if affixes or not fits:
        raise InputError(
            f"{where}: found a {found} tokenizer, expected SentencePiece's, Unigram or BPE (mBART,"
            " T5, NLLB, Llama 2, Gemma), or byte-level BPE (Llama 3, Qwen)"
        )
    tokens: dict[int, str] = {}
    for token, i in pieces_of(state).items():
        if tokens.setdefault(i, token) != token:
            raise InputError(
                f"{where}: tokenizer.json: found {tokens[i]!r} and {token!r} both at {i}, expected"
                " an id for each token"
            )


def is_byte_level(state: Mapping[str, Any]) -> bool:
    """Whether a tokenizer, by its state, has a letter for each byte of a text, as GPT-2's."""
    parts = (state.get(name) for name in ("normalizer", "pre_tokenizer", "decoder"))
    return any(step["type"] == "ByteLevel" for part in parts for step in _steps(part))


def spells_by_bytes(state: Mapping[str, Any]) -> bool:
    """Whether byte-pair merges write what they do not know by its bytes, whatever the script."""
    model = state["model"]
    if model["type"] != "BPE" or is_byte_level(state):
        return model["type"] == "BPE"
    return bool(model["byte_fallback"]) and model["vocab"].keys() >= _BYTES


@cache
def script_of(character: str) -> str | None:
    """Script of a letter or mark, as the first word of its Unicode name: LATIN, CJK, HIRAGANA.

    None for everything that is not bound to one script: digits, punctuation, symbols, accents.
    """
    plain = unicodedata.normalize("NFKD", character)[0]
    if unicodedata.category(plain)[0] not in "LM":
        return None
    word = re.split("[ -]", unicodedata.name(plain, "UNNAMED"))[0]
    return None if word in _OF_ANY_SCRIPT else word


def is_written_in(piece: str, scripts: Collection[str] | None) -> bool:
    """Whether every letter of a piece is of one of the scripts; None: of any."""
    return scripts is None or all(
        script is None or script in scripts for script in map(script_of, piece)
    )


def select_tokens(
    state: Mapping[str, Any],
    used: Collection[int],
    fixed: Collection[int],
    texts: Sequence[str],
    without_row: Collection[int] = (),
) -> Selection:
    """Choose the tokens to keep.

    Kept are the tokens in use; everything with a role of its own (special tokens, language codes,
    sentinels, bytes, what a post-processor adds); and the safety set: of the scripts of `texts`,
    and of what has no script (digits, punctuation, symbols), every single character with and
    without the word boundary. A character that the vocabulary has only inside longer pieces keeps
    all of these. So every word in these scripts that the whole vocabulary writes can still be
    written, letter by letter at worst. The letters of byte-level BPE are bytes, all of which stay.

    A token that was added without being special, such as Gemma's runs of blank lines, goes like any
    other piece: its text is spelt.

    A text whose pieces are all kept is cut into the same pieces as before:

    - Unigram takes the best of all ways to cut a word. Pieces that the best way does not use can
      go without making another way better. What an unknown character costs follows from the
      lowest score of the vocabulary, so that one piece with this score stays.
    - BPE joins the pair that comes first in the list of merges, again and again. Merges which were
      never made can go; those that lead to a kept piece are kept, with what they join. Which
      these are depends on the piece alone: nothing was ever joined across its ends.

    Args:
        state: the tokenizer as its JSON file has it.
        used: ids of the tokens that the texts are made of.
        fixed: further ids that must be kept.
        texts: whose scripts are kept.
        without_row: ids that cannot be kept, as the model has no row for them.
    """
    pieces, model = own_pieces(state), state["model"]
    reserved = {*fixed, *processor_ids(state)}
    reserved |= {token["id"] for token in state["added_tokens"] if token["special"]}
    reserved |= {i for i, piece in pieces.items() if _RESERVED.fullmatch(piece)}
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        reserved |= {model["unk_id"], scores.index(min(scores))}
    elif model.get("unk_token"):
        reserved |= {i for i, piece in pieces.items() if piece == model["unk_token"]}
    scripts = {script for script in map(script_of, set().union(*texts)) if script is not None}
    added = {token["content"] for token in state["added_tokens"]}
    spelt = {i: piece for i, piece in pieces.items() if len(piece) == 1 or piece not in added}
    safe = _safety_set(spelt, None if is_byte_level(state) else scripts)
    needed = reserved | set(used)
    merges: tuple[tuple[str, str], ...] = ()
    if model["type"] == "BPE":
        ids = {piece: i for i, piece in pieces.items()}
        ranks = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}
        made = {pair for i in needed | safe if i in pieces for pair in derivation(pieces[i], ranks)}
        merges = tuple(sorted(made, key=ranks.__getitem__))
        safe |= {ids[part] for left, right in merges for part in (left, right, left + right)}
    kept = (needed | safe).difference(without_row)
    return Selection(
        ids=tuple(sorted(kept)),
        merges=merges,
        num_safety=len(safe - needed),
        scripts=None if spells_by_bytes(state) else tuple(sorted(scripts)),
    )


def derivation(piece: str, ranks: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, str]]:
    """The merges that byte-pair encoding makes on the way from characters to a piece."""
    parts = list(piece)
    while True:
        found = [(ranks[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not found:
            return
        at = min(found)[1]
        yield parts[at], parts[at + 1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def cut_state(state: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    """The tokenizer's state with the kept tokens only, in their order, and with their new ids."""
    new_ids, model = selection.new_ids, dict(state["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in new_ids]
        model["unk_id"] = new_ids[model["unk_id"]]
    else:
        model["vocab"] = {piece: new_ids[i] for piece, i in model["vocab"].items() if i in new_ids}
        model["merges"] = selection.merges
    cut = {**state, "model": model}
    cut["added_tokens"] = [
        {**token, "id": new_ids[token["id"]]}
        for token in state["added_tokens"]
        if token["id"] in new_ids
    ]
    if state.get("padding"):
        cut["padding"] = {**state["padding"], "pad_id": new_ids[state["padding"]["pad_id"]]}
    cut["post_processor"] = _renumbered(state.get("post_processor"), new_ids.__getitem__)
    return cut


def processor_ids(state: Mapping[str, Any]) -> set[int]:
    """Ids of the tokens that a tokenizer pads with or puts around a text."""
    found = {state["padding"]["pad_id"]} if state.get("padding") else set()

    def note(token_id: int) -> int:
        found.add(token_id)
        return token_id

    _renumbered(state.get("post_processor"), note)
    return found


def pieces_of(state: Mapping[str, Any]) -> dict[str, int]:
    """Id of every token, added ones included."""
    added = {token["content"]: token["id"] for token in state["added_tokens"]}
    return {piece: i for i, piece in own_pieces(state).items()} | added


def own_pieces(state: Mapping[str, Any]) -> dict[int, str]:
    """The model's pieces by id, without what was only added to it."""
    vocab = state["model"]["vocab"]
    if isinstance(vocab, list):
        return {i: piece for i, (piece, _) in enumerate(vocab)}
    return {i: piece for piece, i in sorted(vocab.items(), key=lambda entry: int(entry[1]))}


def _steps(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """A normaliser, pre-tokenizer or decoder, and those in it when it is a sequence."""
    if part is None:
        return
    yield part
    for name in ("normalizers", "pretokenizers", "decoders"):
        for step in part.get(name, ()):
            yield from _steps(step)


def _safety_set(pieces: Mapping[int, str], scripts: Collection[str] | None) -> set[int]:
    written = {i: piece for i, piece in pieces.items() if is_written_in(piece, scripts)}
    single = {piece for piece in written.values() if len(piece) == 1}
    return {
        i
        for i, piece in written.items()
        if len(piece.removeprefix(MARK)) <= 1 or not single.issuperset(piece)
    }


def _renumbered(part: Any, new_id: Callable[[int], int]) -> Any:
    """A post-processor with new ids: `ids` of a template, `sep` and `cls` of BERT's kind."""
    if isinstance(part, list):
        return [_renumbered(one, new_id) for one in part]
    if not isinstance(part, dict):
        return part
    changed = {key: _renumbered(value, new_id) for key, value in part.items()}
    if isinstance(part.get("ids"), list):
        changed["ids"] = [new_id(i) for i in part["ids"]]
    if part.get("type") in ("BertProcessing", "RobertaProcessing"):
        changed |= {key: [part[key][0], new_id(part[key][1])] for key in ("sep", "cls")}
    return changed


def unknown_characters(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Counter[str]:
    """The characters of texts that a tokenizer cannot write, and how often they are there.

    Such a one becomes `<unk>`, or, where byte-level BPE lacks a byte, something else or nothing.
    """
    counts = Counter("".join(texts))
    characters = [one for one in counts if not one.isspace()]
    if not characters:
        return Counter()
    rows = encode_texts(tokenizer, characters)
    written = tokenizer.batch_decode(rows)
    return Counter(
        {
            one: counts[one]
            for one, row, back in zip(characters, rows, written, strict=True)
            if not row or tokenizer.unk_token_id in row or ("\ufffd" in back and one != "\ufffd")
        }
    )


def tell_unknown(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> str:
    """Which characters of texts a tokenizer lacks: "the letters of GEORGIAN, '☂' (12 times)"."""
    counts = unknown_characters(tokenizer, texts)
    unknown = set(counts)
    characters = {one for one in set().union(*texts) if not one.isspace()}
    lacking = {script_of(one) for one in unknown}
    lacking -= {script_of(one) for one in characters if one not in unknown} | {None}
    told = [f"the letters of {script}" for script in sorted(map(str, lacking))]
    single = [one for one, _ in counts.most_common() if script_of(one) not in lacking]
    for one in single[:_NUM_NAMED]:
        told.append(f"{one!r} ({counts[one]:,} times)" if counts[one] > 1 else f"{one!r} (once)")
    if len(single) > _NUM_NAMED:
        told.append(f"{len(single) - _NUM_NAMED:,} more characters")
    return ", ".join(told) or "some of their words"
