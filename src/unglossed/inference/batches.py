"""One batch of clips: from the encoder's features to ranked texts, their scores and attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unglossed.errors import InputError
from unglossed.inference.decoding import DecodingSettings
from unglossed.inference.output import Hypothesis, Translation
from unglossed.inference.search import text_scores, write_texts
from unglossed.inference.words import merge_words
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.translator import Translator


# Not inference mode: a table that a model fills on first use must stay fit for later training.
@torch.no_grad()
def translate_batch(
    model: Translator,
    processor: TranslatorProcessor,
    rows: Sequence[Tensor],
    decoding: DecodingSettings,
    names: Sequence[str],
    *,
    n_best: int,
    attention: bool,
) -> list[Translation]:
    """Translate clips that share a batch.

    Args:
        model: the translator, in eval mode.
        processor: turns tokens into text.
        rows: for each clip its features (time, dim).
        decoding: how texts are searched for.
        names: the translations' `media`.
        n_best: hypotheses of each clip.
        attention: also tell which frames each word attended to.

    Returns:
        A translation for each clip, in order.
    """
    features, mask = pad_features(rows)
    features = features.to(model.device, next(model.adapter.parameters()).dtype)
    mask = mask.to(model.device)
    tokens = write_texts(model, features, mask, decoding, n_best=n_best, names=names)
    tokens = tokens.reshape(len(rows), n_best, -1)
    scores = torch.stack(
        [text_scores(model, features, mask, texts) for texts in tokens.unbind(1)], dim=1
    )
    for name, values in zip(names, scores, strict=True):
        if not values.isfinite().all():
            raise InputError(
                f"{name}: found a score that is NaN or infinite, expected a number: the model's"
                " weights are too large for its computations, or are no numbers"
            )
    ranked = [
        _rank(processor.decode(texts), values, drawn=decoding.sample)
        for texts, values in zip(tokens, scores.tolist(), strict=True)
    ]
    best = torch.stack([texts[found[0][0]] for texts, found in zip(tokens, ranked, strict=True)])
    weights = model.attend(features, mask, best).float().cpu() if attention else None
    translations = []
    for index, (row, found) in enumerate(zip(rows, ranked, strict=True)):
        n_best_list = tuple(hypothesis for _, hypothesis in found)
        words = None
        if weights is not None:
            words = merge_words(processor, best[index].tolist(), weights[index, :, : len(row)])
        first = n_best_list[0]
        translations.append(
            Translation(names[index], first.text, first.score, n_best_list, words, len(row))
        )
    return translations


def _rank(
    texts: Sequence[str], scores: Sequence[float], *, drawn: bool
) -> list[tuple[int, Hypothesis]]:
    """Hypotheses of one clip with their places among its texts; see `Translation.n_best`."""
    found = [(place, Hypothesis(*one)) for place, one in enumerate(zip(texts, scores, strict=True))]
    if not drawn:
        return found
    once: dict[str, tuple[int, Hypothesis]] = {}
    for one in sorted(found, key=lambda one: -one[1].score):
        once.setdefault(one[1].text, one)
    return list(once.values())
