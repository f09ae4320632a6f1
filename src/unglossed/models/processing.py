"""Clips to packed batches, texts to labels and back.

In this order: texts encoded so that no text is a control token (`encode_texts`); what a tokenizer's
files say and its class leaves out (`restore_rules`); the processor saved beside a model; padding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
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
from unglossed.errors import InputError
from unglossed.media.augment import AugmentationConfig, render_view
from unglossed.media.two_streams import TwoStreams, render
from unglossed.models.language_model import IGNORED
from unglossed.models.temporal import real_positions

CONTROL = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")
"""How control tokens look: `</s>`, `<|im_end|>`, `<extra_id_0>`, `[INST]`."""
_SENTINEL = re.compile(r"\u2581?<extra_id_\d+>")
"""T5's sentinels, which are ordinary pieces of mT5's vocabulary."""
_HIDDEN = "\ufdd0"
"""Put before a control token's name, so that no text has it: Unicode keeps it out of all texts."""


@dataclass(slots=True)
class _Control:
    """What is known of a tokenizer's control tokens while it has so many tokens."""

    num_tokens: int
    ids: set[int]
    speller: Tokenizer | None = None


_known: WeakKeyDictionary[PreTrainedTokenizerBase, _Control] = WeakKeyDictionary()


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without the tokens that begin or end it.

    None is a control token, whatever the texts say: what looks like one is spelt. `<unk>` alone
    remains, where a character is not known.
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
    """A tokenizer's twin that neither begins, ends nor cuts texts, its control tokens renamed.

    The option `split_special_tokens` of transformers is not enough: it keeps text from being cut at
    these names, but a Unigram model has them among its pieces, and the best scores for them.
    """
    names = set(tokenizer.convert_ids_to_tokens(sorted(control)))

    def renamed(token: str) -> str:
        return _HIDDEN + token if token in names else token

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if isinstance(model["vocab"], list):
        model["vocab"] = [[renamed(piece), score] for piece, score in model["vocab"]]
    else:
        model["vocab"] = {renamed(piece): i for piece, i in model["vocab"].items()}
    if model.get("unk_token"):
        model["unk_token"] = renamed(model["unk_token"])
    if "merges" in model:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if names.isdisjoint([*pair, "".join(pair)])]
    for token in state["added_tokens"]:
        token["content"] = renamed(token["content"])
    state |= {"post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(state))


_LARGEST_ID = 10_000_000
"""Of a token; published vocabularies have up to a million."""
_PIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "sentencepiece.model")


def restore_rules(tokenizer: PreTrainedTokenizerBase, source: str | Path) -> None:
    """Give a loaded tokenizer, in place, what its files say and its class left out.

    `source` is the folder or hub name that transformers loaded it from.

    Raises:
        InputError: its `tokenizer.json` is damaged, which its class may not have noticed, or gives
            a token an absurd id.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    last, number = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", 0))
    if number > _LARGEST_ID:  # the library counts up to it
        told = f"found {last!r} at {number}, expected ids up to {_LARGEST_ID}"
        raise InputError(f"{source}/tokenizer.json: {told}")
    if "__init__" not in vars(type(tokenizer)):  # which takes its file over
        return
    rules = b""
    if path := hub.find_file(source, "tokenizer.json"):
        try:
            written = Tokenizer.from_file(str(path))
        except Exception as error:  # the library knows no other
            told = " ".join(str(error).split())
            raise InputError(f"{path}: cannot be read as a tokenizer: {told[:300]}") from None
        for part in ("normalizer", "pre_tokenizer", "decoder"):
            setattr(backend, part, getattr(written, part))
        ours, theirs = (one.get_vocab(with_added_tokens=False) for one in (backend, written))
        if ours == theirs:
            backend.model = written.model  # with spelling by bytes, if it has it
    # As transformers 5 saves mBART's; all published ones have the same rules.
    lacks_rules = type(tokenizer).__name__ == "MBartTokenizer" and backend.normalizer is None
    if path is None or lacks_rules:
        for path in filter(None, (hub.find_file(source, name) for name in _PIECE_FILES)):
            proto = _read_pieces(path.read_bytes())
            rules = proto.normalizer_spec.precompiled_charsmap
            if proto.trainer_spec.byte_fallback:
                _spell_bytes(tokenizer)
            break
        else:
            if lacks_rules:
                from sentencepiece import SentencePieceNormalizer  # seldom needed

                model = SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
                rules = _read_pieces(model).normalizer_spec.precompiled_charsmap
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    if rules and not any(_charsmaps(state["normalizer"])):
        own = tokenizer.backend_tokenizer.normalizer
        restored: Any = normalizers.Precompiled(rules)
        if own is not None:
            restored = normalizers.Sequence([restored, own])
        tokenizer.backend_tokenizer.normalizer = restored


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


RENAMED = {"sampling_rate": "frame_share", "sample_rate": "audio_rate"}
"""Settings of a processor as versions before 0.1 saved them, and their names since."""


def current_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Saved settings of a processor under today's names."""
    new = {old: name for old, name in RENAMED.items() if name not in fields}
    return {new.get(key, key): value for key, value in fields.items()}


class TranslatorProcessor(ProcessorMixin):
    """Prepares clips and texts for a `Translator`; saved beside it.

    Args:
        tokenizer: the language model's.
        language: of the texts: "de", "en", "zh", ...; of several the one that is written where none
            is asked for.
        start_token: token with which the decoder starts, the language's code.
        frame_share: share of the frames of a 25 fps clip that is kept (FLa-LLM: 0.25).
        resize: side to which a frame is resized, in pixels.
        crop: side of the square that is cut out of it.
        audio_rate: samples a second that a speech model reads; None for video.
        max_seconds: longest audio that it reads whole; None: any, or video.
        new_tokens: those that the recipe added to the tokenizer.
        max_tokens: of the longest text of training, the end token among them. A language model that
            reads clip and text in one row is left room for as many behind a clip.
        trained_seconds: lengths of the clips of training, see `TrainedLengths`; None: not known.
        signal: kind of signal of another package that clips are; None: video, audio or arrays.
        start_tokens: of a model that writes several languages, the start token of each by its code,
            that of `language` among them; empty: it writes one.
        array: what arrays hold and how they are read, see `ArraySettings`; None: video or audio.
        streams: set where clips are read as video and as array, see `StreamsSettings`.
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
        start_tokens: Mapping[str, str] | None = None,
        array: dict[str, Any] | None = None,
        streams: dict[str, Any] | None = None,
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
        self.start_tokens = dict(start_tokens or {})
        self.array = array
        self.streams = streams
        super().__init__(tokenizer, **kwargs)

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **settings: Any) -> Self:
        """Load from a folder or the hub, the tokenizer with the rules of its files."""
        processor: Self = super().from_pretrained(source, *args, **settings)
        restore_rules(processor.tokenizer, source)
        return processor

    def __call__(
        self,
        frames: Sequence[NDArray[Any] | TwoStreams],
        augmentation: AugmentationConfig | None = None,
        generators: Sequence[np.random.Generator] | None = None,
    ) -> dict[str, Tensor]:
        """Pack clips into one batch.

        Args:
            frames: for each clip (n, height, width, 3) uint8 RGB, already thinned; or (n,) float32
                samples of audio; or an array, as `ArraySignal` reads it; or both streams.
            augmentation: how to vary the views in training.
            generators: a random generator for each clip; without them the centre is cut.

        Returns:
            `frames` (sum of n, crop, crop, 3) uint8, or (sum of n, ...) float32, and `lengths`
            (batch,) int64; of two streams their bytes (sum of n,) uint8, with `units` (batch,), the
            clips' lengths in kept frames.
        """

        def view(number: int, clip: NDArray[Any]) -> NDArray[Any]:
            generator = generators[number] if generators else None
            sizes = {"resize": self.resize, "crop": self.crop}
            return render_view(clip, **sizes, augmentation=augmentation, generator=generator)

        views, units = [], []
        for number, clip in enumerate(frames):
            if isinstance(clip, TwoStreams):
                units.append(len(clip))
                views.append(render(clip, partial(view, number)).packed())
            else:
                views.append(view(number, clip) if clip.ndim == 4 else clip)
        return {
            # One clip, as a loader prepares it, is not copied.
            "frames": torch.from_numpy(views[0] if len(views) == 1 else np.concatenate(views)),
            "lengths": torch.tensor([len(one) for one in views]),
            **({"units": torch.tensor(units)} if units else {}),
        }

    @classmethod
    def get_processor_dict(cls, source: Any, **settings: Any) -> tuple[dict[str, Any], Any]:
        """The saved settings under today's names; transformers' part of `from_pretrained`."""
        fields, others = super().get_processor_dict(source, **settings)
        return current_fields(fields), others

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of all languages that the model writes, the usual one first."""
        return (self.language, *(code for code in self.start_tokens if code != self.language))

    def check_language(self, language: str | None) -> str:
        """The language that is written where this one is asked for; None: the usual one.

        Raises:
            InputError: the model does not write it.
        """
        if language is None:
            return self.language
        if language not in self.languages:
            *others, last = self.languages
            known = f"{', '.join(others)} or {last}" if others else last
            raise InputError(f"to: found {language!r}, expected {known}, which the model writes")
        return language

    def start_ids(self) -> dict[str, list[int]]:
        """With which tokens texts start, by their language; of one language none is told."""
        tokens = self.tokenizer.convert_tokens_to_ids(list(self.start_tokens.values()))
        return {code: [int(one)] for code, one in zip(self.start_tokens, tokens, strict=True)}

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
