"""What a tokenizer's files say of its text, where transformers loads it otherwise.

transformers 5 builds many tokenizers anew out of their vocabulary alone. mBART's loses the rules
that fold full-width marks and digits, mT5's the bytes by which it spells an unknown character: what
was written becomes `<unk>`, and vanishes from labels. Here both come back.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerBase
from transformers.utils import cached_file

_STATE_FILE = "tokenizer.json"
_PIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "sentencepiece.model")
_MBART_RULES = "nmt_nfkc"
"""Name of the rules of all published mBART models, which a file that transformers 5 wrote lacks."""


def restore_rules(tokenizer: PreTrainedTokenizerBase, source: str | Path) -> None:
    """Give a loaded tokenizer, in place, what its files say and its class left out.

    Those are the SentencePiece rules that fold characters, and the spelling by bytes.

    Args:
        tokenizer: as transformers loaded it.
        source: the folder or hub name that it was loaded from.
    """
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    rules, spells_bytes = _told_by_files(source)
    if not rules and type(tokenizer).__name__ == "MBartTokenizer":
        rules = _mbart_rules()
    if spells_bytes and not state["model"].get("byte_fallback"):
        _spell_bytes(tokenizer, state)
    if rules and not any(_charsmaps(state["normalizer"])):
        own = tokenizer.backend_tokenizer.normalizer
        restored: Any = normalizers.Precompiled(rules)
        if own is not None:
            restored = normalizers.Sequence([restored, own])
        tokenizer.backend_tokenizer.normalizer = restored


def _told_by_files(source: str | Path) -> tuple[bytes, bool]:
    """The rules, and whether unknown characters are spelt by bytes; a state file counts first."""
    rules, spells_bytes = b"", False
    if path := _find(source, _STATE_FILE):
        state = json.loads(path.read_text(encoding="utf-8"))
        rules = next(map(base64.b64decode, _charsmaps(state.get("normalizer"))), b"")
        spells_bytes = bool(state["model"].get("byte_fallback"))
        if rules or state.get("normalizer"):
            return rules, spells_bytes
    for path in filter(None, (_find(source, name) for name in _PIECE_FILES)):
        proto = _read_pieces(path.read_bytes())
        return proto.normalizer_spec.precompiled_charsmap, proto.trainer_spec.byte_fallback
    return rules, spells_bytes


def _mbart_rules() -> bytes:
    from sentencepiece import SentencePieceNormalizer  # seldom needed

    model = SentencePieceNormalizer(rule_name=_MBART_RULES).serialized_model_proto()
    rules: bytes = _read_pieces(model).normalizer_spec.precompiled_charsmap
    return rules


def _read_pieces(model: bytes) -> Any:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # seldom needed

    return ModelProto.FromString(model)


def _find(source: str | Path, name: str) -> Path | None:
    path = cached_file(
        str(source),
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)


def _charsmaps(step: dict[str, Any] | None) -> Iterator[str]:
    """The SentencePiece rules in a normaliser's state, in base 64."""
    if step is None:
        return
    if step.get("precompiled_charsmap"):
        yield step["precompiled_charsmap"]
    for inner in step.get("normalizers", ()):
        yield from _charsmaps(inner)


def _spell_bytes(tokenizer: PreTrainedTokenizerBase, state: dict[str, Any]) -> None:
    """Have unknown characters written as the pieces of their bytes, and read back."""
    model = state["model"] | {"byte_fallback": True}
    decoders = [{"type": "ByteFallback"}, state["decoder"]]
    changed = state | {"model": model, "decoder": {"type": "Sequence", "decoders": decoders}}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(changed))
