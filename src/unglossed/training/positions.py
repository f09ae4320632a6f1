"""Whether a recipe's texts fit into the positions of the language models that read them."""

from __future__ import annotations

from collections.abc import Sequence

from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.language_models import planned_config
from unglossed.training.objectives import OBJECTIVES
from unglossed.training.settings import PartSettings, StageSettings

_MOST_TOKENS_A_BYTE = 3
"""Normalisation, such as NFD, makes a text at most three times as long; a byte is a token then."""


def check_text_lengths(
    stages: Sequence[StageSettings],
    clips: Sequence[Sample],
    texts: Sequence[str],
    processor: TranslatorProcessor,
) -> None:
    """Check that no text is longer than the language models of the stages that are given it.

    Args:
        stages: of a recipe, whose parts `check_new_parts` has found to be there.
        clips: of train and dev.
        texts: that a language model alone is trained on.
        processor: gives vocabulary and special tokens.

    Raises:
        InputError: names the first clip or text that is too long, its tokens and the limit.
    """
    of_clips = [(f"clip {clip.id!r}", clip.text) for clip in clips]
    of_texts = [(f"text {text[:30]!r}...", text) for text in texts]
    named = {stage.name: stage for stage in stages}
    for stage in stages:
        alone = "encoder" not in OBJECTIVES[stage.objective].parts
        for name in ("language_model", "text_encoder"):
            part: PartSettings | None = getattr(stage, name)
            if part is None:
                continue
            where = f"stages.{stage.name}.{name}"
            config = planned_config(part, named, processor, where).get_text_config()
            limit: int | None = getattr(config, "max_position_embeddings", None)
            if limit is not None:  # nothing limits relative positions
                _check(of_clips + of_texts if alone else of_clips, limit, processor, where)


def _check(
    texts: Sequence[tuple[str, str]], limit: int, processor: TranslatorProcessor, where: str
) -> None:
    for name, text in texts:
        if _MOST_TOKENS_A_BYTE * len(text.encode()) + 2 <= limit:
            continue
        found = len(processor.encode_text(text))
        if found > limit:
            raise InputError(
                f"{where}: {name} has {found:,} tokens with the end token, expected at most the"
                f" {limit:,} positions of the language model: shorten the text or leave it out"
            )
