"""A stage that is tuned on the scores of its own texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import tiny
from shrinking import shrink
from unglossed.inference.translator import SignTranslator
from unglossed.training.callbacks import read_metrics
from unglossed.training.train import train_recipe

pytestmark = pytest.mark.slow
STAGE, FOLDER = "stages.reward", "3-reward"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), num_train=4, num_dev=2)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / FOLDER / "model" / "model.safetensors")


def test_it_is_resumed_to_the_bit_and_scores_stand_side_by_side(
    corpus: str, tmp_path: Path
) -> None:
    changes = [
        *shrink("fla_llm_reward", tmp_path / "models"),
        *(f"{STAGE}.epochs=3", "decoding.max_new_tokens=8", f"{STAGE}.batch_size=2"),
        *("decoding.beams=3", "decoding.choice=minimum_risk"),  # dev has one beam, and no choice
        *(f"{STAGE}.learning_rates.{part}=1e-3" for part in ("adapter", "language_model")),
    ]
    train_recipe("fla_llm_reward", corpus, tmp_path / "whole", overrides=changes)
    steps = 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 7:  # in the second epoch of the third stage, after two of two before
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_recipe("fla_llm_reward", corpus, tmp_path / "cut", overrides=changes)
    finally:
        handle.remove()
    train_recipe("fla_llm_reward", corpus, tmp_path / "cut", overrides=changes, resume=True)

    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(value.equal(cut[name]) for name, value in whole.items())
    before = load_file(tmp_path / "whole" / "2-llm_fine_tuning" / "model" / "model.safetensors")
    assert before.keys() == whole.keys()  # neither the start model nor anything else is saved
    assert any(not value.equal(before[name]) for name, value in whole.items())
    encoder = [name for name in whole if name.startswith("encoder.")]
    assert all(whole[name].equal(before[name]) for name in encoder)
    rows = read_metrics(tmp_path / "whole" / FOLDER / "metrics.jsonl")
    assert rows == read_metrics(tmp_path / "cut" / FOLDER / "metrics.jsonl")
    scores = {"eval_reward", "eval_bleu4", "eval_bleu1", "eval_chrf", "eval_rouge_l", "eval_loss"}
    scored = [row for row in rows if "eval_reward" in row]
    assert len(scored) == 3
    assert all(scores - {"eval_bleu4"} <= row.keys() for row in scored)
    clip = next(Path(corpus.partition(":")[2]).rglob("test-0"))
    assert SignTranslator.from_pretrained(tmp_path / "whole").translate([clip])[0].media
