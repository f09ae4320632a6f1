"""Language-contrastive decoding: hold words back that the model would say without the signal.

LCD: Manevich and Tsarfaty, "Mitigating Hallucinations in Large Vision-Language Models (LVLMs) via
Language-Contrastive Decoding (LCD)", Findings of ACL 2024, arXiv 2408.04664.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from unglossed.models.language_model import EncoderDecoder, LanguageModel

PLAUSIBLE = 0.1
"""Least probability of a token that may be chosen, as a share of the likeliest one's."""
LEAST_ENTROPY = 1e-3
"""In nats: a language model that is surer than this counts as this sure."""
IMPLAUSIBLE = 1e4
"""What a token that is not plausible loses: more than any text does by its words."""


def contrast(own: Tensor, prior: Tensor, strength: float, plausible: float = PLAUSIBLE) -> Tensor:
    """Contrasted log-probabilities of the next token.

    With p of the model and q of the language model without the signal:

        log p + w (log p - log q), renormalised, where w = strength / entropy(q) in nats

    so that a language model that is sure of its next word is held back most. Tokens with less than
    `plausible` times the likeliest one's p cannot be chosen: of two that the signal makes unlikely
    the contrast knows nothing. Formula and threshold are the authors' code's, whose strength is 2.
    Where p is q, what is left is p itself on the plausible tokens.

    Such tokens get log p - `IMPLAUSIBLE` here, not minus infinity as there: a beam search needs as
    many continuations as it has beams, and makes copies of one text where there are fewer.

    Args:
        own: (rows, vocabulary) log-probabilities or logits of the model.
        prior: (rows, vocabulary) those without the signal.
        strength: 0 changes nothing on the plausible tokens.
        plausible: the threshold.
    """
    own, prior = own.float().log_softmax(-1), prior.float().log_softmax(-1)
    entropy = torch.special.entr(prior.exp()).sum(-1, keepdim=True)
    weight = strength / entropy.clamp(min=LEAST_ENTROPY)
    allowed = own >= own.amax(-1, keepdim=True) + math.log(plausible)
    contrasted = torch.where(allowed, own + weight * (own - prior), -torch.inf).log_softmax(-1)
    return torch.where(allowed, contrasted, own - IMPLAUSIBLE)


class LanguageContrast(LogitsProcessor):
    """`contrast` at each step of a `generate`, greedy, with beams or drawn.

    It costs one more forward pass a step, of one token, and a cache of the text so far.

    Args:
        face: the language model that generates, and that is asked without the signal.
        strength: see `contrast`.
        plausible: see `contrast`.
    """

    def __init__(self, face: LanguageModel, strength: float, plausible: float = PLAUSIBLE) -> None:
        self.without_signal = WithoutSignal(face)
        self.strength = strength
        self.plausible = plausible

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Contrasted log-probabilities (rows, vocabulary) of the next token."""
        prior = self.without_signal(input_ids)
        return contrast(scores, prior, self.strength, self.plausible)


class WithoutSignal:
    """What a language model would say next if there were no signal.

    The same weights read the prompt alone, as if a clip of no length stood in it. A model without a
    prompt (an encoder-decoder usually has none) cannot read nothing at all: it is given one
    position that holds zero, which is a signal of one position on which the adapter says nothing.
    The authors of LCD ask the language model from which theirs was made, with the prompt alone;
    here it is the trained one, since Light-T was never a language model and a fully tuned one has
    left what it was.

    Beams change places between two steps. What the model says without signal follows from the
    tokens so far and from nothing else, so the cache of a row is found again by its tokens, in
    whichever row they stood.

    Args:
        face: the language model.
    """

    def __init__(self, face: LanguageModel) -> None:
        self.face = face
        self.opening = self._opening()
        self.seen: Tensor | None = None
        self.cache: Any = None

    def __call__(self, input_ids: Tensor) -> Tensor:
        """Logits (rows, vocabulary) of the token that follows `input_ids` (rows, tokens).

        Args:
            input_ids: as `generate` hands them to its processors: an encoder-decoder's begin with
                its start tokens, a decoder-only model's hold the answer alone.
        """
        if not self._find(input_ids):
            self.cache = None
        fed = input_ids if self.cache is None else input_ids[:, -1:]
        opening = self.opening.expand(len(input_ids), -1, -1)
        inputs: dict[str, Any]
        if isinstance(self.face, EncoderDecoder):
            states = BaseModelOutput(last_hidden_state=opening)
            inputs = {"encoder_outputs": states, "decoder_input_ids": fed}
        elif self.cache is None:
            words = self.face.model.get_input_embeddings()(fed)
            inputs = {"inputs_embeds": torch.cat([opening, words], 1)}
        else:
            inputs = {"input_ids": fed}
        output = self.face.model(**inputs, past_key_values=self.cache, use_cache=True)
        self.seen, self.cache = input_ids, output.past_key_values
        return output.logits[:, -1]

    def _opening(self) -> Tensor:
        """What is read before the text, an encoder's states of it: (1, positions, width)."""
        face, table = self.face, self.face.model.get_input_embeddings()
        prompt = torch.tensor([*face.before, *face.after], device=table.weight.device).long()
        embeds = table(prompt)  # in the number format that the model reads
        if not len(prompt):
            embeds = embeds.new_zeros(1, face.width)
        if isinstance(face, EncoderDecoder):
            return face.model.get_encoder()(inputs_embeds=embeds[None]).last_hidden_state
        return embeds[None]

    def _find(self, input_ids: Tensor) -> bool:
        """Put the cache's rows where their tokens now stand; False if they are not all there."""
        if self.seen is None or self.seen.shape[1] != input_ids.shape[1] - 1:
            return False
        same = (input_ids[:, None, :-1] == self.seen).all(-1)
        if not same.any(1).all():
            return False
        self.cache.reorder_cache(same.int().argmax(1))
        return True
