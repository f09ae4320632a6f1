"""Between raw material and tensors: pictures to a packed batch, texts to labels and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from unglossed import hub
from unglossed.media.augment import AugmentationConfig, render_view
from unglossed.models.language_model import IGNORED
from unglossed.models.visual import real_positions

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


class TranslatorProcessor(ProcessorMixin):
    """Prepares clips and texts for a `Translator`; saved beside it.

    Args:
        tokenizer: the language model's tokenizer.
        language: of the texts: "de", "en", "zh", ...
        start_token: token with which the decoder starts, the language's code.
        frame_share: share of the frames of a 25 fps clip that is kept (FLa-LLM: 0.25).
        resize: side to which a frame is resized, in pixels.
        crop: side of the square that is cut out of it.
        audio_rate: samples of sound a second that a speech model reads; None for video.
        max_seconds: longest sound that it reads whole; None: any, or video.
        new_tokens: those that the recipe added to the tokenizer.
        max_tokens: of the longest text of training, the end token among them. A language model that
            reads clip and text in one row is left room for as many behind a clip.
        trained_seconds: lengths of the clips of training, see `TrainedLengths`; None: not known.
        signal: kind of signal of another package that clips are; None: video or audio.
    """

    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        language: str = "de",
        start_token: str = "<s>",
        frame_share: float = 0.25,
        resize: int = 256,
        crop: int = 224,
        audio_rate: int | None = None,
        max_seconds: float | None = None,
        new_tokens: Sequence[str] = (),
        max_tokens: int = 1,
        trained_seconds: dict[str, Any] | None = None,
        signal: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.language = language
        self.start_token = start_token
        self.frame_share = frame_share
        self.resize = resize
        self.crop = crop
        self.audio_rate = audio_rate
        self.max_seconds = max_seconds
        self.new_tokens = list(new_tokens)
        self.max_tokens = max_tokens
        self.trained_seconds = trained_seconds
        self.signal = signal
        super().__init__(tokenizer, **kwargs)

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **settings: Any) -> Self:
        """Load from a folder or the hub, the tokenizer with the rules of its files.

        Args:
            source: a folder or hub name.
            args: see transformers.
            settings: likewise.
        """
        processor: Self = super().from_pretrained(source, *args, **settings)
        restore_rules(processor.tokenizer, source)
        return processor

    def __call__(
        self,
        frames: Sequence[NDArray[Any]],
        augmentation: AugmentationConfig | None = None,
        generators: Sequence[np.random.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """Pack clips into one batch.

        Args:
            frames: for each clip (n, height, width, 3) uint8 RGB, already thinned; or (n,) float32
                samples of sound.
            augmentation: how to vary the views in training.
            generators: one source of chance a clip; without them the centre is cut.

        Returns:
            `frames` (sum of n, crop, crop, 3) uint8, or (sum of n,) float32, and `lengths` (batch,)
            int64.
        """
        views = [
            self._view(clip, augmentation, generators[i] if generators else None)
            for i, clip in enumerate(frames)
        ]
        return {
            # One clip, as a loader prepares it, is not copied.
            "frames": torch.from_numpy(views[0] if len(views) == 1 else np.concatenate(views)),
            "lengths": torch.tensor([len(view) for view in views]),
        }

    def _view(
        self,
        clip: NDArray[Any],
        augmentation: AugmentationConfig | None,
        generator: np.random.Generator | None,
    ) -> NDArray[Any]:
        if clip.ndim != 4:  # no frames
            return clip
        return render_view(
            clip,
            resize=self.resize,
            crop=self.crop,
            augmentation=augmentation,
            generator=generator,
        )

    @property
    def start_token_id(self) -> int:
        """Id of the token with which the decoder starts."""
        return int(self.tokenizer.convert_tokens_to_ids(self.start_token))

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a text, closed by the end token, which no part of the text stands for."""
        return self.encode_texts([text])[0]

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, see `encode_text`."""
        return [[*ids, self.tokenizer.eos_token_id] for ids in encode_texts(self.tokenizer, texts)]

    def decode(self, token_ids: Tensor) -> list[str]:
        """Texts of generated token ids (batch, tokens), special tokens left out."""
        token_ids = token_ids.masked_fill(token_ids == IGNORED, self.tokenizer.pad_token_id)
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


def pad_labels(rows: Sequence[Sequence[int]]) -> Tensor:
    """Stack token id rows into (batch, tokens), `IGNORED` where padded."""
    labels = torch.full((len(rows), max(map(len, rows))), IGNORED)
    for label_row, row in zip(labels, rows, strict=True):
        label_row[: len(row)] = torch.tensor(row)
    return labels


def pad_features(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack (time, dim) rows into (batch, time, dim), zero where padded, and their mask."""
    features = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return features, real_positions(torch.tensor([len(row) for row in rows]))
