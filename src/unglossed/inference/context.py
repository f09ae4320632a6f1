"""Finds the texts that a translator reads beside a clip's features: drafts and retrieved texts.

Translating, live captions and training go this one way; what a text is, and how it is read, stands
in `models/context.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any

import torch
from torch import Tensor

from unglossed.config import DecodingSettings
from unglossed.inference.limits import alike_batches
from unglossed.inference.search import translate_batch
from unglossed.models.context import DRAFT, RETRIEVED, Context, ContextText, pad_rows
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.translator import Translator

BATCH_SIZE = 32
"""Clips whose texts are found together."""

Texts = tuple[ContextText, ...]


def find_texts(
    context: Context,
    processor: TranslatorProcessor,
    features: Sequence[Tensor],
    own: Sequence[int | None] | None = None,
) -> list[Texts]:
    """Find the texts of clips, the draft first, then what is retrieved, the most similar first.

    Args:
        context: what finds them.
        processor: turns tokens into text.
        features: for each clip (time, dim) of the translator's encoder.
        own: in training the place of each clip's own text in the gallery, which is left out, see
            `Gallery.nearest`.
    """
    found: list[list[ContextText]] = [[] for _ in features]
    if context.language_model is not None:
        writer: Any = context  # which translates features as a translator does
        settings = context.settings[DRAFT]
        decoding = DecodingSettings(
            beams=settings["beams"], max_new_tokens=settings["max_new_tokens"]
        )
        names = [str(number) for number in range(len(features))]
        for batch, limited in alike_batches(writer, features, names, decoding, BATCH_SIZE):
            drafts = translate_batch(
                *(writer, processor, [features[number] for number in batch], limited),
                [names[number] for number in batch],
                n_best=1,
                attention=False,
            )
            for number, draft in zip(batch, drafts, strict=True):
                assert draft.score is not None
                found[number].append(ContextText(DRAFT, draft.text, min(1.0, exp(draft.score))))
    if context.gallery is not None:
        number = context.settings[RETRIEVED]["number"]
        order = sorted(range(len(features)), key=lambda clip: -len(features[clip]))
        texts = context.gallery.texts
        for start in range(0, len(order), BATCH_SIZE):
            clips = order[start : start + BATCH_SIZE]
            excluded = None if own is None else [own[clip] for clip in clips]
            near = _nearest(context, [features[clip] for clip in clips], number, excluded)
            for clip, ranked in zip(clips, near, strict=True):
                said = processor.decode(texts[[text for text, _ in ranked]]) if ranked else []
                found[clip] += [
                    ContextText(RETRIEVED, text, min(1.0, max(0.0, similarity)))
                    for text, (_, similarity) in zip(said, ranked, strict=True)
                ]
    return [tuple(texts) for texts in found]


@torch.no_grad()
def _nearest(
    context: Context,
    features: Sequence[Tensor],
    number: int,
    own: Sequence[int | None] | None,
) -> list[list[tuple[int, float]]]:
    assert context.gallery is not None
    batch, mask = pad_features(features)
    batch = batch.to(context.device, next(context.adapter.parameters()).dtype)
    embeds, mask = context.adapter(batch, mask.to(context.device))
    return context.gallery.nearest(embeds, mask, number, own)


def find_rows(
    model: Translator, processor: TranslatorProcessor, features: Sequence[Tensor]
) -> list[Tensor] | None:
    """For each clip the row of its texts, see `Context.row`; None: the model reads no texts.

    Args:
        model: the translator.
        processor: saved beside it.
        features: for each clip (time, dim).
    """
    context = model.context
    if context is None:
        return None
    return [context.row(processor, texts) for texts in find_texts(context, processor, features)]


def context_of(
    model: Translator, processor: TranslatorProcessor, features: Tensor
) -> Tensor | None:
    """The texts of one clip (time, dim) as a batch of one; None: the model reads no texts."""
    rows = find_rows(model, processor, [features])
    return None if rows is None else pad_rows(rows).to(model.device)
