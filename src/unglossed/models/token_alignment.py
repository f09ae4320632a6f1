"""Token-level alignment of clips and texts, beside the loss of a stage that trains an encoder.

Every position of a clip looks for the tokens that it resembles, and every token for positions; a
clip is to resemble its own text more than those of the other clips of the batch. The similarity is
that of CiCo (Cheng et al., CVPR 2023, arXiv 2303.12793, section 3.3), both softmaxes masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unglossed.models.language_model import IGNORED

LARGEST_SCALE = math.log(100)
"""Of the learned scale's logarithm: beyond it training is unstable (CLIP, arXiv 2103.00020)."""
AT_ONCE = 2**24
"""Cosines of positions and tokens that are held in memory at once."""


class Similarities(NamedTuple):
    """How much the clips of a batch resemble its texts, each (clips, texts)."""

    of_clips: Tensor
    """As the clips' positions see it."""
    of_texts: Tensor
    """As the texts' tokens see it."""


def token_similarities(
    clips: Tensor, clip_mask: Tensor, texts: Tensor, text_mask: Tensor, temperature: float
) -> Similarities:
    """Similarities of clips and texts by their positions and tokens, -1 to 1.

    With E the cosines of the positions i of a clip and the tokens j of a text, a clip sees the text
    as mean_i sum_j softmax_j(E / temperature) E, and the text the clip as
    mean_j sum_i softmax_i(E / temperature) E. Padding takes no part.

    Args:
        clips: (clips, time, dim) of length 1.
        clip_mask: (clips, time) bool, True where real.
        texts: (texts, tokens, dim) of length 1.
        text_mask: (texts, tokens) bool.
        temperature: The lower, the more the best match alone counts.
    """

    def compare(rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        cosines = torch.einsum("atd,bld->abtl", rows, texts)
        positions, tokens = mask[:, None, :, None], text_mask[None, :, None, :]
        weights = (cosines / temperature).masked_fill(~tokens, -math.inf).softmax(3)
        seen_by_clip = (weights * cosines).sum(3) * mask[:, None]
        weights = (cosines / temperature).masked_fill(~positions, -math.inf).softmax(2)
        seen_by_text = (weights * cosines).sum(2) * text_mask
        of_clips = seen_by_clip.sum(2) / mask.sum(1)[:, None]
        return of_clips, seen_by_text.sum(2) / text_mask.sum(1)

    cosines_of_a_clip = clips.shape[1] * texts.shape[0] * texts.shape[1]
    size = max(1, AT_ONCE // cosines_of_a_clip)
    if len(clips) <= size:
        return Similarities(*compare(clips, clip_mask))
    parts = [
        checkpoint(compare, rows, mask, use_reentrant=False)
        for rows, mask in zip(torch.split(clips, size), torch.split(clip_mask, size), strict=True)
    ]
    return Similarities(*(torch.cat(side) for side in zip(*parts, strict=True)))


def alignment_loss(found: Similarities, texts: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of a clip's own text among all texts, and of such a text's own clip; mean.

    Clips with equal texts are positives of each other.

    Args:
        found: Scaled similarities (clips, texts). The first texts are the clips' own; there may be
            others, which are no clip's.
        texts: (texts, tokens), `IGNORED` where padded.
        smoothing: Share of the target that is spread over all texts, or clips.
    """
    num_clips = len(found.of_clips)
    same = (texts[:num_clips, None] == texts[None]).all(2).float()

    def entropy(similarities: Tensor, same: Tensor) -> Tensor:
        target = (1 - smoothing) * same / same.sum(1, keepdim=True) + smoothing / same.shape[1]
        return torch.nn.functional.cross_entropy(similarities, target)

    own = found.of_texts[:, :num_clips].T
    return (entropy(found.of_clips, same) + entropy(own, same[:, :num_clips])) / 2


class TokenAlignment(nn.Module):
    """What the comparison of clips with texts needs, and a translator has no use for.

    Linear maps of a clip's positions and of a text's tokens into one space, and a learned scale.

    Args:
        clip_dim: Width of the clips' positions.
        text_dim: Width of the tokens, and of the space.
        temperature: See `token_similarities`; the scale starts as its inverse.
        texts: Gives states (batch, tokens, text_dim) of token ids and their mask (batch, tokens);
            a module whose weights are neither trained nor saved. None: the tokens are given.
    """

    def __init__(
        self, clip_dim: int, text_dim: int, temperature: float, texts: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.clip_map = nn.Linear(clip_dim, text_dim)
        self.text_map = nn.Linear(text_dim, text_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.temperature = temperature
        # In a tuple, which torch does not look into: no part of the state, nothing to train.
        self._texts = () if texts is None else (texts.eval().requires_grad_(False),)

    def forward(
        self, clips: Tensor, mask: Tensor, texts: Tensor, embed: Callable[[Tensor], Tensor]
    ) -> Similarities:
        """Scaled similarities of clips (clips, time, clip_dim) and texts.

        Args:
            clips: Adapted features.
            mask: (clips, time) bool.
            texts: (texts, tokens), `IGNORED` where padded.
            embed: Gives states of token ids (texts, tokens) where no model of texts was given.
        """
        real = texts != IGNORED
        ids = texts.masked_fill(~real, 0)
        if self._texts:
            with torch.no_grad():
                states = self._texts[0](ids, real)
        else:
            states = embed(ids)
        normalize = nn.functional.normalize
        with torch.autocast(clips.device.type, enabled=False):  # bfloat16 is too coarse for them
            positions = normalize(self.clip_map(clips.float()), dim=-1)
            tokens = normalize(self.text_map(states.float()), dim=-1)
            found = token_similarities(positions, mask, tokens, real, self.temperature)
            scale = self.log_scale.clamp(max=LARGEST_SCALE).exp()
            return Similarities(scale * found.of_clips, scale * found.of_texts)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        apply: Any = super()._apply
        for texts in self._texts:  # go to the device that the rest goes to
            cast(Any, texts)._apply(fn, recurse)
        return cast(Self, apply(fn, recurse))


class FrozenTexts(nn.Module):
    """A pre-trained model as a reader of texts: its word embeddings, or its encoder's states.

    Args:
        model: Of transformers.
        states: Whether its encoder reads the embeddings.
    """

    def __init__(self, model: Any, *, states: bool) -> None:
        super().__init__()
        self.states = states
        self.reader = model.get_encoder() if states else model.get_input_embeddings()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States (batch, tokens, dim) of token ids and their mask, each (batch, tokens)."""
        found: Tensor
        if self.states:
            found = self.reader(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        else:
            found = self.reader(ids)
        return found
