"""The objective reward: what is drawn, what it is compared with, and what becomes likelier."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from unglossed.config import DecodingSettings
from unglossed.corpora.sample import Sample
from unglossed.models.temporal import real_positions
from unglossed.models.translator import Translator
from unglossed.training.added_settings import RewardSettings
from unglossed.training.objectives.reward import (
    Explored,
    Explorer,
    Reward,
    SentenceReward,
    advantages,
    reward_loss,
)
from unglossed.training.settings import StageSettings

PROCESSOR = tiny.tiny_processor()
LENGTHS, DIM, GROUP = [5, 3], 24, 4
DRAWS = torch.tensor([[0, 1], [0, 0]])
KINDS = ("light_t", "llama")


def model(kind: str = "light_t") -> Translator:
    build: Any = tiny.tiny_model if kind == "light_t" else tiny.tiny_decoder_only
    found: Translator = build(PROCESSOR)
    return found


def samples() -> list[Sample]:
    return [
        Sample(id=f"clip {number}", media=Path("x.mp4"), text=text, split="train", language="de")
        for number, text in enumerate(tiny.SENTENCES)
    ]


DECODING = DecodingSettings(max_new_tokens=6)


def explorer(
    of: Translator,
    reward: Any = None,
    seed: int = 0,
    decoding: DecodingSettings = DECODING,
    **settings: Any,
) -> Explorer:
    return Explorer(
        of,
        RewardSettings(**{"group": GROUP, **settings}),
        decoding,
        PROCESSOR,
        samples(),
        reward or SentenceReward("bleu", "de", "nfc.v1"),
        seed,
    )


def clips(time: int | None = None) -> tuple[Tensor, Tensor]:
    mask = real_positions(torch.tensor(LENGTHS), time)
    generator = torch.Generator().manual_seed(1)
    features = torch.zeros(*mask.shape, DIM)
    for row, length in enumerate(LENGTHS):
        features[row, :length] = torch.randn(length, DIM, generator=generator)
    return features, mask


def test_texts_are_drawn_from_the_model_that_is_trained_whatever_the_recipe_decodes_with() -> None:
    changed = DECODING.change(no_repeat_ngram_size=1, language_contrast=0.5, choice="minimum_risk")
    features, mask = clips()
    plain, told = (
        explorer(model(), decoding=one)(model(), features, mask, DRAWS)
        for one in (DECODING, changed)
    )

    assert torch.equal(plain.log_shares, told.log_shares)
    assert torch.equal(plain.rewards, told.rewards)


def test_rewards_are_sacrebleus_of_a_sentence() -> None:
    bleu, chrf = (SentenceReward(metric, "de", "nfc.v1") for metric in ("bleu", "chrf"))
    text, other = "morgen regnet es im norden", "morgen schneit es im norden"

    assert bleu(text, [text]) == pytest.approx(1.0)
    assert chrf(text, [text]) == pytest.approx(1.0)
    assert bleu("", [text]) == chrf("", [text]) == 0.0
    # Of 5 words, 4 pairs, 3 triples; the quadruples, none of which is right, count as a half of 2.
    shares = [4 / 5, 2 / 4, 1 / 3, 1 / 4]
    assert bleu(other, [text]) == pytest.approx(math.prod(shares) ** 0.25)
    assert bleu(other, [text, other]) == pytest.approx(1.0)
    assert 0.5 < chrf(other, [text]) < 1.0
    chinese = SentenceReward("bleu", "zh", "nfc.v1")
    assert chinese("\u660e\u5929\u4e0b\u96e8", ["\u660e\u5929\u4e0b\u96ea"]) > 0.3


def test_advantages_are_of_a_group_alone() -> None:
    rewards = torch.tensor([[0.0, 1.0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.2]])

    found = advantages(rewards)

    spread = math.sqrt(0.5 / 4)
    expected = torch.tensor([[-0.5, 0.5, 0.0, 0.0], [0.0] * 4]) / spread
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(advantages(rewards[:1] / 10), found[:1], rtol=1e-2, atol=1e-3)


def test_the_loss_is_that_of_the_formula_and_padding_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    shares, before = (-torch.rand(4, 3, generator=generator) for _ in range(2))
    real = torch.tensor([[True] * 3, [True, True, False], [True, False, False], [True] * 3])
    rewards = torch.tensor([[0.1, 0.9], [0.4, 0.3]])
    found = Explored(log_shares=shares, before=before, real=real, rewards=rewards)

    expected = [0.0, 0.0]
    advantage = advantages(rewards).flatten().tolist()
    for row in range(4):
        terms = []
        for place in range(int(real[row].sum())):
            log_p, log_q = float(shares[row, place]), float(before[row, place])
            divergence = math.exp(log_q - log_p) - (log_q - log_p) - 1
            terms.append(-advantage[row] * log_p + 0.3 * divergence)
        expected[row // 2] += sum(terms) / len(terms) / 2

    assert reward_loss(found, 0.3).tolist() == pytest.approx(expected, rel=1e-5)
    wider = [-9 * torch.ones(4, 5), torch.zeros(4, 5)]
    wider[0][:, :3], wider[1][:, :3] = shares, before
    longer = torch.nn.functional.pad(real, (0, 2))
    more = Explored(log_shares=wider[0], before=wider[1], real=longer, rewards=rewards)
    torch.testing.assert_close(reward_loss(more, 0.3), reward_loss(found, 0.3))
    without = Explored(log_shares=shares, real=real, rewards=rewards)
    assert not torch.isclose(reward_loss(without, 0.3), reward_loss(found, 0.3)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_follows_from_seed_epoch_and_clip(kind: str) -> None:
    policy = model(kind)
    features, mask = clips()
    explore = explorer(policy)

    whole = explore(policy, features, mask, DRAWS)

    assert torch.equal(explore(policy, features, mask, DRAWS).log_shares, whole.log_shares)
    # The other way round and with more padding each clip has the same texts.
    padded, longer = clips(time=9)
    turned = explore(policy, padded.flip(0), longer.flip(0), DRAWS.flip(0))
    torch.testing.assert_close(turned.rewards, whole.rewards.flip(0))
    torch.testing.assert_close(
        turned.log_shares.unflatten(0, (2, GROUP)).flip(0).flatten(0, 1),
        whole.log_shares,
        rtol=1e-3,
        atol=1e-4,
    )
    others = [(explorer(policy, seed=1), DRAWS), (explore, DRAWS + torch.tensor([1, 0]))]
    for other, draws in others:
        found = other(policy, features, mask, draws)
        assert not torch.equal(found.log_shares[:, 0], whole.log_shares[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_log_shares_are_those_of_the_texts_that_were_drawn(kind: str) -> None:
    """And the start model's are the same as long as nothing has moved."""
    policy = model(kind)
    seen: list[str] = []

    def reward(text: str, _: Any) -> float:
        seen.append(text)
        return float(len(text))

    found = explorer(policy, reward)(policy, *clips(), DRAWS)

    torch.testing.assert_close(found.before, found.log_shares.detach())
    assert found.rewards.flatten().tolist() == [len(text) for text in seen]
    assert found.log_shares.requires_grad
    assert found.real[:, 0].all()
    assert not found.log_shares[~found.real].any()
    assert (found.log_shares[found.real] < 0).all()
    assert policy.training


def test_the_references_are_the_texts_of_the_clips_themselves() -> None:
    policy, told = model(), []

    def reward(_: str, references: Any) -> float:
        told.append(references)
        return 0.0

    explorer(policy, reward)(policy, *clips(), DRAWS)

    assert told == [(tiny.SENTENCES[1],)] * GROUP + [(tiny.SENTENCES[0],)] * GROUP


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_make_rewarded_texts_likelier_and_move_no_start_model(
    kind: str, bfloat16: bool
) -> None:
    """Rewarded is a letter, so that what has to rise is plain."""
    policy = model(kind)
    policy.freeze(["encoder"])
    features, mask = clips()
    explore = explorer(policy, lambda text, _: float(text.count("e") > 2), group=16)
    start = [value.clone() for part in explore.start for value in part.state_dict().values()]
    trained = [weight for weight in policy.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    means = []

    for epoch in range(12):
        draws = DRAWS + torch.tensor([epoch, 0])
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            found = explore(policy, features, mask, draws)
        optimizer.zero_grad()
        reward_loss(found, 0.01).mean().backward()
        weights = [*policy.adapter.parameters(), *policy.language_model.parameters()]
        assert sum(weight.grad is not None for weight in weights) > 0.9 * len(weights)
        optimizer.step()
        means.append(float(found.rewards.mean()))

    assert sum(means[-4:]) / 4 > sum(means[:4]) / 4 + 0.2, means
    after = [value for part in explore.start for value in part.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(start, after, strict=True))
    assert not torch.isclose(found.before, found.log_shares.detach()).all()


def test_without_divergence_there_is_no_second_model() -> None:
    policy = model()
    explore = explorer(policy, kl=0.0)

    assert explore.start == []
    assert explore(policy, *clips(), DRAWS).before is None


def test_the_loss_of_a_step_is_a_sum_over_clips_by_the_batch_size() -> None:
    stage = StageSettings.model_validate(settings(batch_size=4))
    policy = model()
    found = explorer(policy)(policy, *clips(), DRAWS)

    loss = Reward().loss(found, {}, stage, None)

    torch.testing.assert_close(loss, reward_loss(found, 0.04).sum() / 4)


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "name": "reward",
        "objective": "reward",
        "encoder": {"source": "before"},
        "adapter": {"source": "before"},
        "language_model": {"source": "before"},
        "frozen": ["encoder"],
        "learning_rates": {"adapter": 0.1, "language_model": 0.1},
        "epochs": 1,
        "batch_size": 2,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "frozen": [],
                "learning_rates": dict.fromkeys(("encoder", "adapter", "language_model"), 0.1),
            },
            r"frozen: found none of \['encoder'\], expected it frozen by the objective reward",
        ),
        ({"label_smoothing": 0.1}, "label_smoothing means nothing to the objective reward"),
        ({"reward": {"group": 1}}, "greater than or equal to 2"),
        ({"reward": {"metric": "rouge"}}, "'bleu' or 'chrf'"),
        (
            {"objective": "translation", "reward": {}},
            "reward means nothing to the objective translation",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StageSettings.model_validate(settings(**changes))
