"""A tokenizer for reading alone: what each token adds to a text, in bytes.

A text is the bytes of its tokens one after the other, read as UTF-8, without spaces at its ends.
So decode byte-pair encoding, Unigram models and bytes alike; whether a tokenizer does is tried out.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor

ROWS = 500
"""Random texts that are compared."""
LENGTH = 12
_SPACE = "\u2581"


def token_bytes(processor: TranslatorProcessor) -> list[bytes]:
    """The bytes of each token id; none of a special token.

    Raises:
        InputError: texts made of them differ from the tokenizer's own.
    """
    tokenizer = processor.tokenizer
    table = _table(tokenizer)
    special = set(tokenizer.all_special_ids)
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    found = [
        b"" if number in special or piece is None else _bytes_of(piece, table)
        for number, piece in enumerate(pieces)
    ]
    _compare(processor, found)
    return found


def join(tokens: list[bytes], ids: list[int]) -> str:
    """The text of token ids, as the page joins it."""
    return b"".join(tokens[one] for one in ids).decode("utf-8", "replace").strip()


def _table(tokenizer: PreTrainedTokenizerBase) -> dict[str, int] | None:
    """Byte of each letter where a tokenizer spells bytes as letters (GPT-2's); None elsewhere."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or '"ByteLevel"' not in json.dumps(
        json.loads(backend.to_str()).get("decoder") or {}
    ):
        return None
    # The alphabet: bytes that print stand for themselves, the others for letters from 256 on.
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


def _bytes_of(piece: str, table: dict[str, int] | None) -> bytes:
    if table is not None:
        return bytes(table[letter] for letter in piece if letter in table)
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(_SPACE, " ").encode()


def _compare(processor: TranslatorProcessor, found: list[bytes]) -> None:
    """Decode random texts in both ways; pieces of a character stand alone in neither."""
    whole = [number for number, one in enumerate(found) if _is_text(one)]
    if not whole:
        raise InputError("the tokenizer: found no token that is text")
    rng = np.random.default_rng(0)
    rows = rng.choice(whole, (ROWS, LENGTH))
    for row, text in zip(rows.tolist(), processor.decode(torch.from_numpy(rows)), strict=True):
        if join(found, row) != text:
            kind = type(processor.tokenizer).__name__
            raise InputError(
                f"the tokenizer ({kind}): found the text {text!r} where its tokens joined are"
                f" {join(found, row)!r}, expected one whose texts are its tokens in a row"
            )


def _is_text(one: bytes) -> bool:
    try:
        one.decode()
    except UnicodeDecodeError:
        return False
    return True
