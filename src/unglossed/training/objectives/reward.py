"""Reward: a trained translator is tuned on the score of the sentences that it writes itself.

Group relative policy optimisation (GRPO: Shao et al., "DeepSeekMath", arXiv 2402.03300, section
4.1): of each clip a group of texts is drawn, and those that score better than their group become
likelier. Each group is used for one step, where the clipped ratio of GRPO is 1 and what is left is
REINFORCE with the group's mean as its baseline.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor
from torch.utils.data import Dataset
from transformers.utils import ModelOutput

from unglossed.config import DecodingSettings
from unglossed.corpora.languages import tokenisation
from unglossed.corpora.sample import Sample
from unglossed.evaluation.metrics import NORMALISATIONS, score
from unglossed.inference.limits import text_limit
from unglossed.inference.search import write_texts, written
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator
from unglossed.training.added_settings import RewardSettings
from unglossed.training.build import build_translator
from unglossed.training.data import AddingDataset
from unglossed.training.job import DevSplit, Job, Scores
from unglossed.training.objectives import Task
from unglossed.training.objectives.translation import Translation

if TYPE_CHECKING:
    from unglossed.training.objectives import Count
    from unglossed.training.settings import StageSettings

LEAST_SPREAD = 1e-4
"""Added to the spread of a group's rewards, so that equal ones are no advantage."""


class SentenceReward:
    """The score of one sentence, 0 to 1, by sacreBLEU.

    Args:
        metric: `bleu` (BLEU-4, its order cut to what the sentence has) or `chrf`.
        language: of the texts; BLEU splits them as this project's scores do.
        normalisation: what is done to the texts before; a name of `NORMALISATIONS`.
    """

    def __init__(self, metric: str, language: str, normalisation: str) -> None:
        split = tokenisation(language)
        chrf = metric == "chrf"
        self._metric: Any = CHRF() if chrf else BLEU(tokenize=split, effective_order=True)
        self._normalise = NORMALISATIONS[normalisation]

    def __call__(self, text: str, references: Sequence[str]) -> float:
        """Score a text against the references of its clip."""
        wanted = [self._normalise(reference) for reference in references]
        found = self._metric.sentence_score(self._normalise(text), wanted).score
        return min(max(float(found) / 100, 0.0), 1.0)


@dataclass
class Explored(ModelOutput):
    """Texts that were drawn, with what a loss needs to know of them; rows are clips x group."""

    log_shares: Tensor | None = None
    """(rows, tokens) log-probabilities of the tokens, with gradients."""
    before: Tensor | None = None
    """(rows, tokens) those that the start model gives them; None where nothing holds to it."""
    real: Tensor | None = None
    """(rows, tokens) bool, True up to the end token."""
    rewards: Tensor | None = None
    """(clips, group)."""


def advantages(rewards: Tensor) -> Tensor:
    """Rewards (clips, group) against their group: (r - mean) / spread; all 0 where all are equal.

    GRPO, section 4.1.2: of one group, whatever the rewards of other clips are.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, correction=0, keepdim=True) + LEAST_SPREAD)


def reward_loss(found: Explored, kl: float) -> Tensor:
    """Loss of each clip: (clips,).

    With A of `advantages`, p the model and q the start model,

        L = mean over the group of mean over tokens t of  - A log p_t + kl (q_t / p_t - log (q_t /
            p_t) - 1)

    The second term estimates the divergence of p from q without bias and is never negative (GRPO,
    equation 4). Padding does not count.
    """
    assert found.log_shares is not None and found.real is not None and found.rewards is not None
    advantage = advantages(found.rewards).flatten()[:, None]
    of_tokens = -advantage * found.log_shares
    if found.before is not None:
        ratio = found.before - found.log_shares
        of_tokens = of_tokens + kl * (ratio.exp() - ratio - 1)
    sums = of_tokens.masked_fill(~found.real, 0.0).sum(1)
    return (sums / found.real.sum(1)).view(found.rewards.shape).mean(1)


class Explorer:
    """Draws texts of clips from a model, rewards them, and says how likely they are.

    All is computed in eval mode: dropout would draw the texts from another model than is trained.

    Args:
        model: as the stage begins; copied, if the model is to be held to it.
        settings: of the stage.
        decoding: its `max_new_tokens` is the most that a text has.
        processor: turns tokens into text.
        samples: the training clips by number; their texts as they are, not as a tokenizer that
            lacks words would give them back.
        reward: of a text.
        seed: of what is drawn; see `write_texts`.
    """

    def __init__(
        self,
        model: Translator,
        settings: RewardSettings,
        decoding: DecodingSettings,
        processor: TranslatorProcessor,
        samples: Sequence[Sample],
        reward: SentenceReward,
        seed: int,
    ) -> None:
        # Texts of another distribution than that whose log-probabilities are trained are no group.
        plain: dict[str, Any] = {"language_contrast": 0.0, "no_repeat_ngram_size": 0}
        plain |= {"temperature": 1.0, "top_p": 1.0}
        self.settings, self.processor, self.samples = settings, processor, samples
        self.decoding = decoding.change(sample=True, seed=seed, **plain)
        self.reward = reward
        self.start: list[torch.nn.Module] = []
        if settings.kl:
            parts = (model.adapter, model.language_model)
            self.start = [copy.deepcopy(one).eval().requires_grad_(False) for one in parts]

    def __call__(
        self, model: Translator, features: Tensor, mask: Tensor, draws: Tensor
    ) -> Explored:
        """Explore the texts of clips, and leave the model in training mode.

        Args:
            model: that is trained.
            features: (clips, time, dim).
            mask: (clips, time) bool.
            draws: (clips, 2) epoch and number of each clip.
        """
        model.eval()
        try:
            return self._explored(model, features, mask, draws.tolist())
        finally:
            model.train()

    def _explored(
        self, model: Translator, features: Tensor, mask: Tensor, draws: list[list[int]]
    ) -> Explored:
        group = self.settings.group
        room = text_limit(model, features.shape[1]) or self.decoding.max_new_tokens
        most = max(1, min(room, self.decoding.max_new_tokens))
        decoding = self.decoding.change(max_new_tokens=most)
        names = [f"epoch {epoch} clip {number}" for epoch, number in draws]
        with torch.no_grad():
            tokens = write_texts(model, features, mask, decoding, n_best=group, names=names)
        # What autocast made of the weights without gradients is not to be used with them.
        torch.clear_autocast_cache()
        real = written(model, tokens)
        labels = tokens.masked_fill(~real, IGNORED)
        rewards = self._rewards(labels, [number for _, number in draws])
        shares = _log_shares(model.adapter, model.language_model, features, mask, labels)
        before = None
        if self.start:
            with torch.no_grad():
                start = [one.to(features.device) for one in self.start]
                before = _log_shares(start[0], start[1], features, mask, labels)
        return Explored(log_shares=shares, before=before, real=real, rewards=rewards)

    def _rewards(self, labels: Tensor, numbers: Sequence[int]) -> Tensor:
        """Rewards (clips, group) of texts (clips x group, tokens)."""
        texts = self.processor.decode(labels)
        group = self.settings.group
        rows = []
        for place, number in enumerate(numbers):
            sample = self.samples[number]
            references = (sample.text, *sample.references)
            own = texts[place * group : (place + 1) * group]
            rows.append([self.reward(text, references) for text in own])
        return torch.tensor(rows, device=labels.device)


def _log_shares(
    adapter: Any, writer: Any, features: Tensor, mask: Tensor, labels: Tensor
) -> Tensor:
    """Log-probabilities (rows, tokens) of labels (rows, tokens), several rows a clip; 0 padded."""
    rows = len(labels) // len(features)
    embeds, positions = (one.repeat_interleave(rows, 0) for one in adapter(features, mask))
    logits = writer(embeds, positions, labels).float()
    chosen = logits.gather(2, labels.clamp(min=0)[..., None]).squeeze(2)
    return (chosen - logits.logsumexp(2)).masked_fill(labels == IGNORED, 0.0)


class DrawsDataset(AddingDataset):
    """Adds to each clip the epoch and its number, by which its texts are drawn."""

    def added(self, row: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """`draw`: both."""
        return {"draw": (epoch, index)}


class Reward(Translation):
    """A translator that has learned to translate learns to score better."""

    settings = ("dev_beams", "reward")
    smooths = False
    shards = False
    languages = False
    frozen = ("encoder",)

    def build(self, job: Job) -> Task:
        """The translator, its clips, and besides the scores on dev the mean reward there."""
        run, settings = job.run, job.stage.reward or RewardSettings()
        model = build_translator(job.plan, job.earlier)
        clips = job.clips(model, run.train_samples, training=True)
        dataset, num_workers = job.items(model, clips)
        items: Dataset[Any] = DrawsDataset(dataset, seed=job.seed)
        reward = SentenceReward(settings.metric, run.processor.language, run.normalisation)
        told = run.recipe.decoding, run.processor, clips.samples
        model.explore(Explorer(model, settings, *told, reward, job.seed))
        scores = job.dev(model).scored(
            self.score,
            decoding=run.recipe.decoding.change(beams=job.stage.dev_beams, choice="best"),
            normalisation=run.normalisation,
            reward=reward,
        )
        return Task(model, items, scores, num_workers)

    def loss(
        self, outputs: Any, batch: Mapping[str, Tensor], stage: StageSettings, count: Count
    ) -> Tensor:
        """See `reward_loss`; the sum over clips by the batch's size, whatever their texts are."""
        kl = (stage.reward or RewardSettings()).kl
        return reward_loss(outputs, kl).sum() / stage.batch_size

    def finish(self, model: Any) -> Any:
        """The model, which explores no more."""
        model.explore(None)
        return model

    def score_texts(
        self, dev: DevSplit, texts: Sequence[str], normalisation: str, **settings: Any
    ) -> Scores:
        """What translation scores, chrF, and the mean `reward`: the last is optimised."""
        found = super().score_texts(dev, texts, normalisation)
        references = [(sample.text, *sample.references) for sample in dev.samples]
        language = dev.clips.processor.language
        rewards = map(settings["reward"], texts, references)
        return {
            **found,
            "chrf": score(texts, references, language, normalisation).chrf,
            "reward": sum(rewards) / len(texts),
        }
