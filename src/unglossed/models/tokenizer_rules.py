"""What a tokenizer's files say of its text, where transformers loads it otherwise.

transformers 5 builds many tokenizers anew out of their vocabulary alone, as their class says. So
mBART's loses the rules that fold full-width marks and digits, mT5's the bytes by which it spells an
unknown character, SmolLM2's its way with digits: what was written becomes `<unk>` and vanishes from
labels, or is cut otherwise than the model has learned. Here all this comes back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerBase

from unglossed import hub

_STATE_FILE = "tokenizer.json"
_PIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "sentencepiece.model")
_MBART_RULES = "nmt_nfkc"
"""Name of the rules of all published mBART models, which a file that transformers 5 wrote lacks."""


def restore_rules(tokenizer: PreTrainedTokenizerBase, source: str | Path) -> None:
    """Give a loaded tokenizer, in place, what its files say and its class left out.

    Args:
        tokenizer: as transformers loaded it.
        source: the folder or hub name that it was loaded from.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or "__init__" not in vars(type(tokenizer)):  # which takes its file over
        return
    rules = b""
    if path := hub.find_file(source, _STATE_FILE):
        _take_over(backend, Tokenizer.from_file(str(path)))
    if path is None or _lacks_rules(tokenizer):
        for path in filter(None, (hub.find_file(source, name) for name in _PIECE_FILES)):
            proto = _read_pieces(path.read_bytes())
            rules = proto.normalizer_spec.precompiled_charsmap
            if proto.trainer_spec.byte_fallback:
                _spell_bytes(tokenizer)
            break
        else:
            rules = _mbart_rules() if _lacks_rules(tokenizer) else b""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if rules and not any(_charsmaps(state["normalizer"])):
        own = tokenizer.backend_tokenizer.normalizer
        restored: Any = normalizers.Precompiled(rules)
        if own is not None:
            restored = normalizers.Sequence([restored, own])
        tokenizer.backend_tokenizer.normalizer = restored


def _take_over(backend: Tokenizer, written: Tokenizer) -> None:
    """Read and write texts as a file says."""
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        setattr(backend, part, getattr(written, part))
    vocabularies = (one.get_vocab(with_added_tokens=False) for one in (backend, written))
    if next(vocabularies) == next(vocabularies):
        backend.model = written.model  # with spelling by bytes, if it has it


def _lacks_rules(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether it is mBART's without its rules, as transformers 5 saves them."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return type(tokenizer).__name__ == "MBartTokenizer" and normalizer is None


def _mbart_rules() -> bytes:
    from sentencepiece import SentencePieceNormalizer  # seldom needed

    model = SentencePieceNormalizer(rule_name=_MBART_RULES).serialized_model_proto()
    rules: bytes = _read_pieces(model).normalizer_spec.precompiled_charsmap
    return rules


def _read_pieces(model: bytes) -> Any:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # seldom needed

    return ModelProto.FromString(model)


def _charsmaps(step: dict[str, Any] | None) -> Iterator[str]:
    """The SentencePiece rules in a normaliser's state, in base 64."""
    if step is None:
        return
    if step.get("precompiled_charsmap"):
        yield step["precompiled_charsmap"]
    for inner in step.get("normalizers", ()):
        yield from _charsmaps(inner)


def _spell_bytes(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have unknown characters written as the pieces of their bytes, and read back."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"].get("byte_fallback"):
        return
    model = state["model"] | {"byte_fallback": True}
    decoders = [{"type": "ByteFallback"}, state["decoder"]]
    changed = state | {"model": model, "decoder": {"type": "Sequence", "decoders": decoders}}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(changed))
