"""The search for a text: beams, greedy or drawn, with or without language contrast; its settings.

Of one batch: token ids and their scores, then ranked texts with the frames that words attend to.

Language contrast holds words back that the model would say without the signal. LCD: Manevich and
Tsarfaty, "Mitigating Hallucinations in Large Vision-Language Models (LVLMs) via
Language-Contrastive Decoding (LCD)", Findings of ACL 2024, arXiv 2408.04664.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, NoRepeatNGramLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

from unglossed import hub
from unglossed.config import DecodingSettings, read_settings
from unglossed.errors import InputError
from unglossed.inference.choosing import ALONE, Beside, Candidates, similarities
from unglossed.inference.limits import text_limit
from unglossed.inference.output import Hypothesis, Translation, merge_words
from unglossed.media.augment import generator_for
from unglossed.models.context import pad_rows
from unglossed.models.language_model import IGNORED, EncoderDecoder, LanguageModel
from unglossed.models.processing import TranslatorProcessor, pad_features
from unglossed.models.translator import Translator

DECODING_FILE = "decoding.yaml"
"""Beside a model: the settings of the recipe that it was trained with."""


def load_decoding(source: str) -> DecodingSettings:
    """Settings that lie beside a model, or the defaults where there are none.

    Args:
        source: a model folder or a name on the hub.

    Raises:
        InputError: the file holds something else.
    """
    path = hub.find_file(source, DECODING_FILE)
    return DecodingSettings() if path is None else read_settings(DecodingSettings, path)


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
        writer: the language model that generates, and that is asked without the signal.
        strength: see `contrast`.
        plausible: see `contrast`.
    """

    def __init__(
        self, writer: LanguageModel, strength: float, plausible: float = PLAUSIBLE
    ) -> None:
        self.without_signal = WithoutSignal(writer)
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
        writer: the language model.
    """

    def __init__(self, writer: LanguageModel) -> None:
        self.writer = writer
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
        if isinstance(self.writer, EncoderDecoder):
            states = BaseModelOutput(last_hidden_state=opening)
            inputs = {"encoder_outputs": states, "decoder_input_ids": fed}
        elif self.cache is None:
            words = self.writer.model.get_input_embeddings()(fed)
            inputs = {"inputs_embeds": torch.cat([opening, words], 1)}
        else:
            inputs = {"input_ids": fed}
        output = self.writer.model(**inputs, past_key_values=self.cache, use_cache=True)
        self.seen, self.cache = input_ids, output.past_key_values
        return output.logits[:, -1]

    def _opening(self) -> Tensor:
        """What is read before the text, an encoder's states of it: (1, positions, width)."""
        writer, table = self.writer, self.writer.model.get_input_embeddings()
        prompt = torch.tensor([*writer.before, *writer.after], device=table.weight.device).long()
        embeds = table(prompt)  # in the number format that the model reads
        if not len(prompt):
            embeds = embeds.new_zeros(1, writer.width)
        if isinstance(writer, EncoderDecoder):
            return writer.model.get_encoder()(inputs_embeds=embeds[None]).last_hidden_state
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


LOGITS_AT_ONCE = 2**26
"""Of how many logits texts are scored at a time: 256 MiB."""


def write_texts(
    model: Translator,
    features: Tensor,
    mask: Tensor,
    decoding: DecodingSettings,
    *,
    n_best: int = 1,
    names: Sequence[str] = (),
    prefix: Sequence[int] = (),
    context: Tensor | None = None,
) -> Tensor:
    """Search for texts, or draw them.

    What is drawn for a clip follows from the seed, its name and the number of the draw: neither the
    batch nor the other clips matter, but for rounding (a batch of another shape adds the same
    numbers in another order, which can tip a draw that lies on an edge).

    Args:
        model: in eval mode.
        features: (batch, time, dim) of the encoder.
        mask: (batch, time) bool.
        decoding: how.
        n_best: texts of each clip; at most `decoding.beams` unless they are drawn.
        names: of the clips; needed where texts are drawn.
        prefix: tokens with which all texts begin.
        context: texts beside the features, see `Translator.forward`.

    Returns:
        (batch * n_best, tokens): the texts of a clip side by side, best first by what the beams
        were ranked by, or in the order in which they were drawn. Behind the end token lies
        padding, see `written`.
    """
    settings: dict[str, Any] = {"num_beams": decoding.beams, "num_return_sequences": n_best}
    if decoding.beams > 1:
        settings["length_penalty"] = decoding.length_penalty
    processors: list[LogitsProcessor] = []
    if decoding.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram_size))
    if decoding.language_contrast:
        processors.append(LanguageContrast(model.language_model, decoding.language_contrast))
    if decoding.sample:
        settings |= {"num_beams": 1, "num_return_sequences": 1}
        settings.pop("length_penalty", None)
        features, mask = (one.repeat_interleave(n_best, 0) for one in (features, mask))
        context = None if context is None else context.repeat_interleave(n_best, 0)
        chances = [generator_for(decoding.seed, n, name) for name in names for n in range(n_best)]
        processors.append(Drawing(chances, decoding.temperature, decoding.top_p))
    if prefix:
        processors.append(Beginning(prefix))
    return model.generate(
        features=features,
        mask=mask,
        context=context,
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        logits_processor=LogitsProcessorList(processors),
        **settings,
    )


class Beginning(LogitsProcessor):
    """Has every text of a `generate` begin with the same tokens.

    Args:
        tokens: the first ones of each text.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = tokens
        self.start: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) that leave no choice as long as the beginning lasts."""
        if self.start is None:
            self.start = input_ids.shape[1]
        place = input_ids.shape[1] - self.start
        if place >= len(self.tokens):
            return scores
        own = scores[:, self.tokens[place]].clone()
        scores = scores - IMPLAUSIBLE  # not minus infinity, see `contrast`
        scores[:, self.tokens[place]] = own
        return scores


class Drawing(LogitsProcessor):
    """Draws the next token of each row with a source of chance of its own.

    Within `generate` it stands in a greedy search, whose only choice is then the token drawn. The
    draws of transformers share one source among all rows: with them a clip's text would change with
    the clips beside it.

    Args:
        chances: a generator a row, which gives one number a step.
        temperature: log-probabilities are divided by it.
        top_p: see `DecodingSettings`.
    """

    def __init__(
        self, chances: Sequence[np.random.Generator], temperature: float, top_p: float
    ) -> None:
        self.chances = chances
        self.temperature = temperature
        self.top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) of 0 for the token drawn and minus infinity elsewhere."""
        shares = (scores.float() / self.temperature).softmax(-1)
        shares, tokens = shares.sort(dim=-1, descending=True, stable=True)
        kept = shares.cumsum(-1) - shares < self.top_p  # the first always is
        shares = shares.masked_fill(~kept, 0)
        drawn = torch.tensor([[one.random()] for one in self.chances], device=scores.device)
        reached = shares.cumsum(-1) <= drawn * shares.sum(-1, keepdim=True)
        place = reached.sum(-1, keepdim=True).clamp(max=kept.sum(-1, keepdim=True) - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens.gather(-1, place), 0.0)


def written(model: Translator, tokens: Tensor) -> Tensor:
    """Which tokens (batch, tokens) are of the text: those up to its first end token, it included.

    What lies behind is padding, of which a model may make the end token itself.
    """
    end = model.language_model.model.generation_config.eos_token_id
    if end is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    ends = torch.isin(tokens, torch.tensor(end, device=tokens.device))
    return ends.cumsum(1) - ends.long() == 0


def text_scores(
    model: Translator,
    features: Tensor,
    mask: Tensor,
    tokens: Tensor,
    context: Tensor | None = None,
) -> Tensor:
    """Mean log-probability that the model gives the tokens of each text (batch,).

    The texts are read once more as in training, so that the score is the same whatever they were
    searched for with, and exact where padding is made of the end token. It costs one pass over each
    text; keeping the logits of each beam and step instead takes gigabytes where the vocabulary is
    large.

    Args:
        model: in eval mode.
        features: (batch, time, dim) of the encoder.
        mask: (batch, time) bool.
        tokens: (batch, tokens) as `write_texts` gives them.
        context: texts beside the features, see `Translator.forward`.
    """
    real = written(model, tokens)
    vocab_size = model.language_model.model.config.get_text_config().vocab_size
    size = max(1, LOGITS_AT_ONCE // (tokens.shape[1] * vocab_size))
    scores = []
    for start in range(0, len(tokens), size):
        rows = slice(start, start + size)
        labels = tokens[rows].masked_fill(~real[rows], IGNORED)
        beside = None if context is None else context[rows]
        output = model(features=features[rows], mask=mask[rows], labels=labels, context=beside)
        logits = output.logits.float()
        scores.append(_mean_scores(logits, tokens[rows], real[rows]))
    return torch.cat(scores)


def unseen_scores(model: Translator, tokens: Tensor) -> Tensor:
    """Mean log-probability (batch,) of each text if the clip says nothing: one position of zeros.

    Args:
        model: in eval mode.
        tokens: (batch, tokens) as `write_texts` gives them.
    """
    writer, real = model.language_model, written(model, tokens)
    labels = tokens.masked_fill(~real, IGNORED)
    table = writer.model.get_input_embeddings().weight
    nothing = table.new_zeros(len(tokens), 1, writer.width)
    mask = torch.ones(len(tokens), 1, dtype=torch.bool, device=tokens.device)
    logits = writer(nothing, mask, labels).float()
    return _mean_scores(logits, tokens, real)


def _mean_scores(logits: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
    """Mean log-probability (batch,) of the real ones of tokens (batch, tokens)."""
    chosen = logits.gather(2, tokens[..., None]).squeeze(2) - logits.logsumexp(2)
    return chosen.where(real, 0).sum(1) / real.sum(1)


@torch.no_grad()
def continue_text(
    model: Translator,
    features: Tensor,
    prefix: Sequence[int],
    decoding: DecodingSettings,
    context: Tensor | None = None,
) -> tuple[list[int], float]:
    """Find the text of one clip that begins with given tokens.

    Args:
        model: in eval mode.
        features: (time, dim) of the encoder.
        prefix: tokens, without an end token.
        decoding: how the rest is searched for; `max_new_tokens` counts the prefix.
        context: texts beside the features, a batch of one, see `Translator.forward`.

    Returns:
        Its tokens without the end token, and its score, see `text_scores`.
    """
    rows = features[None].to(model.device, next(model.adapter.parameters()).dtype)
    mask = torch.ones(rows.shape[:2], dtype=torch.bool, device=model.device)
    room = text_limit(model, len(features)) or decoding.max_new_tokens
    settings = decoding.change(max_new_tokens=max(1, min(room, decoding.max_new_tokens)))
    tokens = write_texts(model, rows, mask, settings, names=[""], prefix=prefix, context=context)
    score = float(text_scores(model, rows, mask, tokens, context)[0])
    end = model.language_model.model.generation_config.eos_token_id
    ends = set(end) if isinstance(end, list) else {end}
    kept = tokens[0][written(model, tokens)[0]].tolist()
    return [token for token in kept if token not in ends], score


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
    context: Sequence[Tensor] | None = None,
    beside: Beside = ALONE,
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
        context: for each clip its row of texts beside the features, see `Context.row`.
        beside: what judges the texts.

    Returns:
        A translation for each clip, in order.
    """
    features, mask = pad_features(rows)
    features = features.to(model.device, next(model.adapter.parameters()).dtype)
    mask = mask.to(model.device)
    read = None if context is None else pad_rows(context).to(model.device)
    judged = beside.judges and not decoding.sample
    several = judged or decoding.choice != "best"
    count = max(n_best, decoding.beams) if several else n_best
    tokens = write_texts(model, features, mask, decoding, n_best=count, names=names, context=read)
    tokens = tokens.reshape(len(rows), count, -1)
    scores = torch.stack(
        [text_scores(model, features, mask, texts, read) for texts in tokens.unbind(1)], dim=1
    )
    for name, values in zip(names, scores, strict=True):
        if not values.isfinite().all():
            raise InputError(
                f"{name}: found a score that is NaN or infinite, expected a number: the model's"
                " weights are too large for its computations, or are no numbers"
            )
    real = torch.stack([written(model, texts) for texts in tokens])
    resembled = None
    if beside.alignment is not None and (judged or decoding.choice == "contrast"):
        labels = tokens.masked_fill(~real, IGNORED)
        resembled = similarities(beside.alignment, features, mask, labels).cpu().double().numpy()
    found = [
        Candidates(
            processor.decode(tokens[index]),
            scores[index].cpu().double().numpy(),
            real[index].sum(1).cpu().numpy(),
            None if resembled is None else resembled[index],
        )
        for index in range(len(rows))
    ]
    orders = [one.order(decoding) for one in found]
    best = torch.stack([texts[order[0]] for texts, order in zip(tokens, orders, strict=True)])
    weights = model.attend(features, mask, best, read).float().cpu() if attention else None
    unseen = unseen_scores(model, best) if judged else None
    translations = []
    for index, (row, one, order) in enumerate(zip(rows, found, orders, strict=True)):
        ranked = [Hypothesis(one.texts[place], float(one.scores[place])) for place in order]
        if decoding.sample:
            once: dict[str, Hypothesis] = {}
            for hypothesis in ranked:
                once.setdefault(hypothesis.text, hypothesis)
            ranked = [*once.values()]
        words = None
        if weights is not None:
            words = merge_words(
                processor, best[index].tolist(), weights[index, :, : len(row)], decoding.to
            )
        first = ranked[0]
        translation = Translation(
            names[index], first.text, first.score, tuple(ranked[:n_best]), words, len(row)
        )
        if unseen is not None:
            evidence = one.evidence(order[0], float(unseen[index]), row)
            translation = replace(translation, evidence=evidence)
            if beside.confidence is not None:
                sure = beside.confidence.of_clip(evidence, row.float().cpu())
                translation = replace(translation, confidence=sure)
        translations.append(translation)
    return translations
