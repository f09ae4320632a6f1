"""Texts beside the features: a draft of a lighter model, and texts of similar clips of training.

A `Context` gives a translator's language model words of other origin to read behind the adapted
features. It holds what finds them, frozen: the adapter of an earlier stage, that stage's language
model, which writes the draft, and a gallery of texts. It reads the same features as the translator.

Drafts follow "Supervised Knowledge Makes Large Language Models Better In-context Learners" (Yang et
al., ICLR 2024, arXiv 2312.15918); retrieval follows SignRAG's similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from unglossed.models.adapter import build_adapter
from unglossed.models.language_model import IGNORED, LanguageModel, build_language_model
from unglossed.models.processing import TranslatorProcessor, encode_texts
from unglossed.models.token_alignment import occurrences, token_similarities

DRAFT, RETRIEVED = "draft", "retrieved"
KINDS = (DRAFT, RETRIEVED)
"""What a text beside the features can be."""
CONFIDENCE = "{confidence}"
"""In a lead: the confidence of the text behind it, in percent."""
_THOUSANDTHS = 1000
_TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class ContextText:
    """A text beside the features.

    Attributes:
        kind: Of `KINDS`.
        text: The text.
        confidence: 0 to 1: of a draft the geometric mean of its tokens' probabilities, of a
            retrieved text its similarity.
    """

    kind: str
    text: str
    confidence: float


class Gallery(nn.Module):
    """Texts that clips are compared with, by the token similarity of an alignment.

    Buffers, saved with the model: `vectors` (entries, dim) of length 1, the tokens in the space of
    the comparison; `token_ids` (entries,); `places` (texts, tokens), the entry of each token of
    each text, -1 where padded.

    Args:
        clip_dim: Width of a clip's adapted features.
        config: `dim`, `num_entries`, `num_texts`, `longest` and `temperature`.
    """

    vectors: Tensor
    token_ids: Tensor
    places: Tensor

    def __init__(self, clip_dim: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        entries, shape = config["num_entries"], (config["num_texts"], config["longest"])
        self.temperature = config["temperature"]
        self.clip_map = nn.Linear(clip_dim, config["dim"])
        self.register_buffer("vectors", torch.zeros(entries, config["dim"]))
        self.register_buffer("token_ids", torch.zeros(entries, dtype=torch.int32))
        self.register_buffer("places", torch.full(shape, -1, dtype=torch.int32))

    @property
    def texts(self) -> Tensor:
        """Token ids (texts, tokens), `IGNORED` where padded."""
        ids = self.token_ids[self.places.clamp(min=0).long()].long()
        return ids.masked_fill(self.places < 0, IGNORED)

    def similarities(self, embeds: Tensor, mask: Tensor) -> Tensor:
        """Similarities (clips, texts), -1 to 1, as the clips' positions see them.

        Exact: each clip is compared with every text, some texts at a time.

        Args:
            embeds: (clips, time, clip_dim) adapted features.
            mask: (clips, time) bool.
        """
        found = []
        with torch.autocast(embeds.device.type, enabled=False):
            positions = nn.functional.normalize(self.clip_map(embeds.float()), dim=-1)
            for start in range(0, len(self.places), _TEXTS_AT_ONCE):
                places = self.places[start : start + _TEXTS_AT_ONCE]
                real = places >= 0
                used, entry = torch.unique(places[real], return_inverse=True)
                counts = occurrences(entry, real, len(used))
                tokens = self.vectors[used.long()]
                seen = token_similarities(positions, mask, tokens, counts, self.temperature)
                found.append(seen.of_clips)
        return torch.cat(found, 1)

    def nearest(
        self, embeds: Tensor, mask: Tensor, number: int, own: Sequence[int | None] | None = None
    ) -> list[list[tuple[int, float]]]:
        """For each clip the most similar texts, the nearest first, with their similarities.

        Args:
            embeds: (clips, time, clip_dim) adapted features.
            mask: (clips, time) bool.
            number: Of texts; fewer where the gallery has no more.
            own: Each clip's own text, which is left out; None: it has none here.
        """
        scores = self.similarities(embeds, mask)
        for clip, text in enumerate(own or ()):
            if text is not None:
                scores[clip, text] = -torch.inf
        best = scores.topk(min(number, scores.shape[1]), dim=1)
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            [one for one in zip(texts, values, strict=True) if one[1] > -torch.inf]
            for texts, values in rows
        ]


_KEYS: Mapping[str, Any] = {
    "width": int,
    "adapter": dict,
    "leads": dict,
    "tokens": dict,
    f"{DRAFT}.language_model": dict,
    f"{DRAFT}.beams": int,
    f"{DRAFT}.max_new_tokens": int,
    f"{RETRIEVED}.number": int,
    **{f"{RETRIEVED}.{key}": int for key in ("dim", "num_entries", "num_texts", "longest")},
    f"{RETRIEVED}.temperature": float,
}
"""Of a `Context`'s configuration, and their types; a number is above 0."""


def context_fault(config: Any) -> str | None:
    """What is wrong with a saved configuration of a `Context`; None: nothing."""
    if not isinstance(config, dict):
        return f"found {config!r:.60}, expected keys and values"
    for key, kind in _KEYS.items():
        part, _, name = key.rpartition(".")
        if part and config.get(part) is None:
            continue
        within = config[part] if part else config
        value = within.get(name) if isinstance(within, dict) else None
        if not isinstance(value, kind) or (kind is not dict and value <= 0):
            return f"{key}: found {value!r:.60}, expected {'keys' if kind is dict else 'a number'}"
    found = [kind for kind in KINDS if config.get(kind) is not None]
    for kind in found:
        lead, tokens = config["leads"].get(kind), config["tokens"].get(kind)
        if not isinstance(lead, str) or not isinstance(tokens, int):
            return f"leads and tokens: found {lead!r:.60} and {tokens!r:.60} of {kind}"
    return None if found else f"found none of {', '.join(KINDS)}"


class Context(nn.Module):
    """What finds texts of a clip, and marks them for the language model that reads them.

    Only `marks` are trained; the rest stays in eval mode and has no gradients. With its adapter and
    language model it translates features as a `Translator` does.

    Args:
        width: Of the embeddings of the language model that reads the texts.
        features_dim: Width of the encoder's features.
        config: `width` and `adapter` of the earlier stage; for drafts `draft` with the keys
            `language_model`, `prompt`, `lora`, `beams` and `max_new_tokens`; for retrieval
            `retrieved` with `number` and the keys of `Gallery`; `leads`, the words in front of a
            text by its kind; `tokens`, the most tokens of a lead and its text by kind.
    """

    language_model: Any  # None without drafts
    context, context_positions = None, 0
    """As of a translator without texts beside its features: a draft is written from these alone."""

    def __init__(self, width: int, features_dim: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        draft, retrieved = config.get(DRAFT), config.get(RETRIEVED)
        self.settings = dict(config)
        self.adapter = build_adapter(features_dim, config["width"], config["adapter"])
        self.language_model: LanguageModel | None = None
        if draft is not None:
            parts = (draft["language_model"], draft["prompt"], draft["lora"])
            self.language_model = build_language_model(*parts)
        self.gallery = Gallery(config["width"], retrieved) if retrieved is not None else None
        self.requires_grad_(False)
        # For each kind a vector, and one that counts as much as the text's confidence.
        self.marks = nn.Parameter(torch.zeros(len(KINDS), 2, width))

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.marks.device

    @property
    def positions(self) -> int:
        """Most tokens of a clip's texts together."""
        number = (self.settings.get(RETRIEVED) or {"number": 0})["number"]
        return most_positions(self.settings["tokens"], number)

    def forward(
        self, features: Tensor, mask: Tensor, labels: Tensor, context: None = None
    ) -> CausalLMOutput:
        """Logits of drafts (batch, tokens, vocabulary), as `Translator.forward` gives them."""
        return CausalLMOutput(logits=self.language_model(*self.adapter(features, mask), labels))

    def generate(
        self, features: Tensor, mask: Tensor, context: None = None, **settings: Any
    ) -> Any:
        """Drafts; see `Translator.generate`."""
        return self.language_model.generate(*self.adapter(features, mask), **settings)

    def row(self, processor: TranslatorProcessor, texts: Sequence[ContextText]) -> Tensor:
        """A clip's texts as one row (tokens, 3) of whole numbers.

        Token id, number of the kind and confidence in thousandths. What is longer than `tokens`
        says is cut off.
        """
        rows: list[tuple[int, int, int]] = []
        for one in texts:
            ids = lead_ids(processor, self.settings["leads"][one.kind], one.confidence)
            ids += encode_texts(processor.tokenizer, [one.text])[0]
            facts = KINDS.index(one.kind), round(_THOUSANDTHS * one.confidence)
            rows += [(token, *facts) for token in ids[: self.settings["tokens"][one.kind]]]
        return torch.tensor(rows, dtype=torch.long).reshape(-1, 3)

    def embed(self, rows: Tensor, words: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings (batch, tokens, width) of rows (batch, tokens, 3), marked, and their mask.

        Args:
            rows: See `pad_rows`.
            words: Gives the embeddings of token ids.
        """
        ids, kinds, confidence = rows.unbind(-1)
        embedded = words(ids.clamp(min=0))
        offset, slope = self.marks[kinds].unbind(-2)
        marks = offset + slope * (confidence[..., None] / _THOUSANDTHS)
        return embedded + marks.to(embedded.dtype), ids != IGNORED


def most_positions(tokens: Mapping[str, int], number: int) -> int:
    """Most tokens of a clip's texts together.

    Args:
        tokens: most of a text and its lead, by its kind.
        number: of retrieved texts.
    """
    return tokens.get(DRAFT, 0) + number * tokens.get(RETRIEVED, 0)


def lead_ids(processor: TranslatorProcessor, lead: str, confidence: float) -> list[int]:
    """Token ids of the words in front of a text."""
    told = lead.replace(CONFIDENCE, str(round(100 * confidence)))
    return list(processor.tokenizer(told, add_special_tokens=False)["input_ids"])


def pad_rows(rows: Sequence[Tensor]) -> Tensor:
    """Stack rows (tokens, 3) of `Context.row` into (batch, tokens, 3).

    The token id is `IGNORED` where padded, the rest 0.
    """
    padded = torch.zeros(len(rows), max(map(len, rows), default=0), 3, dtype=torch.long)
    padded[..., 0] = IGNORED
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded
