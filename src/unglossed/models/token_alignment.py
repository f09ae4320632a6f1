"""Token-level alignment of clips and texts, beside the loss of a stage that trains an encoder.

Every position of a clip looks for the tokens that it resembles, and every token for positions; a
clip is to resemble its own text more than those of the other clips of the batch. The similarity is
that of CiCo (Cheng et al., CVPR 2023, arXiv 2303.12793, section 3.3), both softmaxes masked.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from unglossed.models.language_model import IGNORED
from unglossed.ranks import here

LARGEST_SCALE = math.log(100)
"""Of the learned scale's logarithm: beyond it training is unstable (CLIP, arXiv 2103.00020)."""
LOWEST_TEMPERATURE = 0.03
"""With which float32 still tells the share of the least similar of two from 0."""
_TEXTS_AT_ONCE = 256
_TINY = torch.finfo(torch.float32).tiny


class Similarities(NamedTuple):
    """How much the clips of a batch resemble its texts, each (clips, texts)."""

    of_clips: Tensor
    """As the clips' positions see it."""
    of_texts: Tensor
    """As the texts' tokens see it."""
    of_tokens: Tensor | None = None
    """How much each clip resembles each of the texts' tokens, (clips, tokens); for `word_loss`."""
    counts: Tensor | None = None
    """How often each token stands in each text, (tokens, texts); for `word_loss`."""


def token_similarities(
    clips: Tensor, mask: Tensor, tokens: Tensor, counts: Tensor, temperature: float
) -> Similarities:
    """Similarities of clips and texts by their positions and tokens, -1 to 1.

    With E the cosines of the positions i of a clip and the tokens j of a text, a clip sees the text
    as mean_i sum_j softmax_j(E / temperature) E, and the text the clip as
    mean_j sum_i softmax_i(E / temperature) E. Padding takes no part.

    A token that stands in several texts is compared once: what a text adds up are rows of one
    matrix, chosen by `counts`.

    Args:
        clips: (clips, time, dim) of length 1.
        mask: (clips, time) bool, True where real.
        tokens: (tokens, dim) of length 1, those of all texts.
        counts: (tokens, texts) how often each stands in each text.
        temperature: The lower, the more the best match alone counts; `LOWEST_TEMPERATURE` at least.
    """
    cosines = clips @ tokens.T
    # One exponential for both softmaxes; no cosine is above 1, so that none of these is either.
    shares = ((cosines - 1) / temperature).exp() * mask[..., None]
    sums = shares * cosines
    seen_by_positions = (sums @ counts) / (shares @ counts).clamp(min=_TINY)
    seen_by_tokens = sums.sum(1) / shares.sum(1).clamp(min=_TINY)
    return Similarities(
        seen_by_positions.sum(1) / mask.sum(1)[:, None],
        seen_by_tokens @ (counts / counts.sum(0)),
        seen_by_tokens,
        counts,
    )


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


def word_loss(found: Similarities) -> Tensor:
    """Cross-entropy of the clips whose text has a token among all clips; mean over the tokens.

    A token counts once, however many texts have it: a word that is rare is learned as much as one
    that each text has. Tokens of all the clips' texts, or of none, tell nothing and do not count.

    Args:
        found: Scaled similarities of a `TokenAlignment`; the first texts are the clips' own.
    """
    assert found.of_tokens is not None and found.counts is not None
    num_clips = len(found.of_tokens)
    has = found.counts[:, :num_clips].T > 0
    telling = has.any(0) & ~has.all(0)
    if not bool(telling.any()):
        return 0 * found.of_tokens.sum()
    has = has[:, telling].float()
    shares = found.of_tokens[:, telling].log_softmax(0)
    return -((has / has.sum(0)) * shares).sum(0).mean()


class TokenAlignment(nn.Module):
    """What the comparison of clips with texts needs, and a translator has no use for.

    Linear maps of a clip's positions and of a text's tokens into one space, and a learned scale.

    Args:
        clip_dim: Width of the clips' positions.
        text_dim: Width of the tokens, and of the space.
        temperature: See `token_similarities`; the scale starts as its inverse.
        reader: A model of texts whose weights are neither trained nor saved; None: the word
            embeddings are given.
    """

    def __init__(
        self, clip_dim: int, text_dim: int, temperature: float, reader: FrozenReader | None = None
    ) -> None:
        super().__init__()
        self.clip_map = nn.Linear(clip_dim, text_dim)
        self.text_map = nn.Linear(text_dim, text_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.temperature = temperature
        # In a tuple, which torch does not look into: no part of the state, nothing to train.
        self._reader = () if reader is None else (reader.eval().requires_grad_(False),)

    def forward(self, clips: Tensor, mask: Tensor, texts: Tensor, words: nn.Module) -> Similarities:
        """Scaled similarities of clips (clips, time, clip_dim) and texts.

        Args:
            clips: Adapted features.
            mask: (clips, time) bool.
            texts: (texts, tokens), `IGNORED` where padded.
            words: Gives embeddings (tokens, text_dim) of token ids where there is no reader.
        """
        states, places = self._read(texts, words)
        counts = occurrences(places, texts != IGNORED, len(states))
        normalize = nn.functional.normalize
        with torch.autocast(clips.device.type, enabled=False):  # bfloat16 is too coarse for them
            positions = normalize(self.clip_map(clips.float()), dim=-1)
            tokens = normalize(self.text_map(states.float()), dim=-1)
            found = token_similarities(positions, mask, tokens, counts, self.temperature)
            scale = self.log_scale.clamp(max=LARGEST_SCALE).exp()
            assert found.of_tokens is not None
            # Of all processes that train together: `texts` are, and clips are each one's own.
            ours = (found.of_clips, found.of_texts, found.of_tokens)
            of_clips, of_texts, of_tokens = (here().gathered(scale * rows) for rows in ours)
            return Similarities(of_clips, of_texts, of_tokens, counts)

    def token_vectors(self, words: nn.Module) -> Tensor | None:
        """Vectors (vocabulary, text_dim) of length 1 that texts are compared by.

        None where a token has none of its own, as its state depends on its text.

        Args:
            words: See `forward`.
        """
        reader: Any = self._reader[0] if self._reader else None
        if reader is not None and reader.contextual:
            return None
        table: Any = words if reader is None else reader.model
        ids = torch.arange(table.num_embeddings, device=self.log_scale.device)
        found = self.text_map((reader or words)(ids).float())
        return nn.functional.normalize(found, dim=-1)

    def _read(self, texts: Tensor, words: nn.Module) -> tuple[Tensor, Tensor]:
        """States (entries, text_dim), and for each token of the texts its entry (tokens,)."""
        real = texts != IGNORED
        ids = texts[real]
        if self._reader and self._reader[0].contextual:
            with torch.no_grad():
                states = self._reader[0](texts.masked_fill(~real, 0), real)[real]
            return states, torch.arange(len(ids), device=ids.device)  # each has one of its own
        different, places = torch.unique(ids, return_inverse=True)
        return self._reader[0](different) if self._reader else words(different), places

    @torch.no_grad()
    def entries(self, texts: Tensor, words: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """What texts are compared by, to be kept: see the buffers of `Gallery`.

        Args:
            texts: (texts, tokens), `IGNORED` where padded.
            words: See `forward`.

        Returns:
            Vectors (entries, text_dim) of length 1, their token ids (entries,), and the entry of
            each token (texts, tokens), -1 where padded.
        """
        contextual = any(reader.contextual for reader in self._reader)
        # Where a token's state depends on its text, there are many, and an encoder computes them.
        size = _TEXTS_AT_ONCE if contextual else len(texts)
        vectors, token_ids, found, total = [], [], [], 0
        for start in range(0, len(texts), size):
            rows = texts[start : start + size]
            real = rows != IGNORED
            states, places = self._read(rows, words)
            vectors.append(nn.functional.normalize(self.text_map(states.float()), dim=-1))
            token_ids.append(places.new_zeros(len(states)).index_copy_(0, places, rows[real]))
            found.append(torch.full_like(rows, -1).masked_scatter_(real, places + total))
            total += len(states)
        return torch.cat(vectors), torch.cat(token_ids), torch.cat(found)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        apply: Any = super()._apply
        for reader in self._reader:  # goes to the device that the rest goes to
            cast(Any, reader)._apply(fn, recurse)
        return cast(Self, apply(fn, recurse))


def occurrences(places: Tensor, real: Tensor, num_entries: int) -> Tensor:
    """How often each entry is in each text: (entries, texts).

    Args:
        places: (real tokens,) the entry of each.
        real: (texts, tokens) bool, True where they are.
        num_entries: of how many.
    """
    counts = torch.zeros(num_entries, len(real), device=real.device)
    rows = real.nonzero()[:, 0]
    return counts.index_put_((places, rows), torch.ones_like(counts[0, 0]), True)


class FrozenReader(nn.Module):
    """A pre-trained model as a reader of texts: its word embeddings, or its last states.

    States of a decoder-only model make it the teacher of the clips (LLM2CLIP: Huang et al., arXiv
    2411.04997, section 3): there one that was tuned before, so that captions of the same image
    have states alike, with attention both ways.

    Args:
        model: Of transformers.
        contextual: Whether an encoder-decoder's encoder, or a decoder-only model, reads the
            embeddings, so that a token's state depends on its text.
        both_ways: Let a token of a decoder-only model see those behind it.
    """

    def __init__(self, model: Any, *, contextual: bool, both_ways: bool = False) -> None:
        super().__init__()
        self.contextual, self.both_ways = contextual, both_ways
        self.model = model if contextual else model.get_input_embeddings()

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """States (..., dim) of token ids; those in context of texts and mask (texts, tokens)."""
        found: Tensor
        if mask is None:
            found = self.model(ids)
            return found
        return read_states(self.model, ids, mask, both_ways=self.both_ways)


def read_states(model: Any, ids: Tensor, mask: Tensor, *, both_ways: bool = False) -> Tensor:
    """Last states (texts, tokens, dim) of texts that an encoder, or a decoder-only model, reads.

    Args:
        model: of transformers, of either kind.
        ids: (texts, tokens) padded behind.
        mask: (texts, tokens) bool, True where real.
        both_ways: let a token of a decoder-only model see those behind it.
    """
    encodes = model.config.is_encoder_decoder
    reader = model.get_encoder() if encodes else model.get_decoder()
    seen = mask.long()
    if both_ways and not encodes:
        seen = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)
    found: Tensor = reader(input_ids=ids, attention_mask=seen).last_hidden_state
    return found
