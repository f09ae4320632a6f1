"""The objectives of stages: what each needs, its loss, and the score on dev that it is judged by.

Small functions over what a model gives; what the model and the batches are is `tasks.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unglossed.models.language_model import IGNORED
from unglossed.models.recogniser import BLANK

if TYPE_CHECKING:
    from unglossed.training.settings import StageSettings

Count = Tensor | float | None
"""What a sum is divided by: the tokens of the whole effective batch; None: those at hand."""


@dataclass(frozen=True)
class Objective:
    """What a stage is trained for.

    Attributes:
        parts: Settings of parts that the stage must have.
        adds: Further parts that the model has of itself, with learning rates of their own.
        masks_text: Whether sentences are masked, to be restored.
        smooths: Whether label smoothing means something.
        sums: Whether the loss is a sum over the rows of a batch, so that these can be parted.
        best: Score on dev by which the best checkpoint is chosen; None: the last one is kept.
        lowest: Whether the lowest score is the best.
        then: Loss on dev that decides where that score ties or is not defined; the lowest is best.
        signals: Kinds of clips that it is for.
        loss: Gives the loss of a batch from what the model says of it, the batch, the stage's
            settings and the count to divide by.
    """

    parts: tuple[str, ...]
    loss: Callable[[Any, Mapping[str, Tensor], StageSettings, Count], Tensor]
    adds: tuple[str, ...] = ()
    masks_text: bool = False
    smooths: bool = True
    sums: bool = True
    best: str | None = None
    lowest: bool = False
    then: str = "loss"
    signals: tuple[str, ...] = ("video", "audio")


def text_loss(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, num_tokens: Count = None
) -> Tensor:
    """Cross-entropy of a text, - log p(o_i | o_<i, V), mean over its tokens (FLa-LLM, 3.2).

    Args:
        logits: (batch, tokens, vocabulary).
        labels: (batch, tokens), `IGNORED` where padded.
        label_smoothing: share of the target given to all tokens alike.
        num_tokens: what the sum is divided by: the tokens of the whole effective batch, so that
            its cut into batches changes nothing; the labels' own count when not given.
    """
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / ((labels != IGNORED).sum() if num_tokens is None else num_tokens)


def gloss_loss(
    logits: Tensor, mask: Tensor, labels: Tensor, *, num_glosses: Count = None
) -> Tensor:
    """Connectionist temporal classification, - log p(glosses | clip), mean over the glosses.

    A clip with fewer positions than its glosses need adds nothing, in the place of infinity.

    Args:
        logits: (batch, time, 1 + glosses), the blank first.
        mask: (batch, time) bool, True where real.
        labels: (batch, glosses), `IGNORED` where padded.
        num_glosses: what the sum is divided by, see `text_loss`.
    """
    real = labels != IGNORED
    total = torch.nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        labels.masked_fill(~real, BLANK),
        mask.sum(1),
        real.sum(1),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / (real.sum() if num_glosses is None else num_glosses)


def alignment_loss(similarities: Tensor) -> Tensor:
    """Divergence of the similarities from the identity, both ways (GFSLT-VLP, section 3.2).

    KL(identity || softmax) over the sentences of a clip and over the clips of a sentence, their
    mean. As the identity has no entropy, this is the cross-entropy of CLIP.

    Args:
        similarities: (batch, batch) of clips and sentences, the pairs on the diagonal.
    """
    pairs = torch.arange(len(similarities), device=similarities.device)
    entropy = torch.nn.functional.cross_entropy
    return (entropy(similarities, pairs) + entropy(similarities.T, pairs)) / 2


def _text(outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count) -> Tensor:
    return text_loss(
        outputs.logits, batch["labels"], label_smoothing=stage.label_smoothing, num_tokens=count
    )


def _gloss(outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count) -> Tensor:
    del stage
    return gloss_loss(outputs.logits, outputs.mask, batch["labels"], num_glosses=count)


def _vlp(outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count) -> Tensor:
    restored = _text(outputs, batch, stage, count)
    return alignment_loss(outputs.similarities) + stage.restoration_weight * restored


_RECOGNITION = Objective(
    ("encoder",), _gloss, adds=("ctc_head",), smooths=False, best="word_error_rate", lowest=True
)

OBJECTIVES: Mapping[str, Objective] = {
    "translation": Objective(("encoder", "adapter", "language_model"), _text, best="bleu4"),
    "denoising": Objective(("language_model",), _text, masks_text=True),
    "gloss_ctc": replace(_RECOGNITION, signals=("video",)),
    "transcript_ctc": replace(_RECOGNITION, signals=("audio",)),
    "vlp": Objective(
        ("encoder", "adapter", "language_model", "text_encoder"),
        _vlp,
        adds=("alignment",),
        masks_text=True,
        sums=False,
        best="loss",
        lowest=True,
        then="restoration_loss",
    ),
}
