"""Rows of the ladder: each is trained, those of an option on top of the recipe's own stage 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from experiments.common import FURTHER_STAGES, PRETRAINING
from experiments.ladder import DECODER, MOTION, ROWS, compare, train
from unglossed.training.recipe import load_recipe
from unglossed_synth.corpus import write_corpus

OPTIONS = ("high rates", "retrieved texts", "drafts", "reward", DECODER, "masked features")
NAMES = (MOTION, *OPTIONS)
WEIGHTS = "model/model.safetensors"


@pytest.mark.slow
def test_options_are_tried_on_the_stage_1_of_the_recipe(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_corpus(corpus, 24, 0, width=32, height=40, level=1, progress=False, num_workers=1)
    stages = (PRETRAINING, *FURTHER_STAGES)
    small = f"stages.{PRETRAINING}.language_model.config"
    changes = [
        *("num_workers=0", "extra_texts=null", "decoding={beams: 1, max_new_tokens: 8}"),
        *(f"stages.{stage}.epochs=1" for stage in stages),
        *(f"{small}.{key}=32" for key in ("d_model", "encoder_ffn_dim", "decoder_ffn_dim")),
    ]

    train(corpus, tmp_path / "seed-0", 0, NAMES, changes)
    told = compare(corpus, tmp_path, [0], NAMES)

    runs = {name: tmp_path / "seed-0" / name.replace(" ", "-") for name in NAMES}
    first = {
        name: load_file(run / f"1-{FURTHER_STAGES[0]}" / WEIGHTS) for name, run in runs.items()
    }
    for name in OPTIONS:
        assert all((first[name][key] == value).all() for key, value in first[MOTION].items())
    assert (runs["reward"] / "3-reward" / WEIGHTS).is_file()
    second = f"2-{FURTHER_STAGES[1]}"
    masked, plain = (load_file(runs[name] / second / WEIGHTS) for name in (OPTIONS[-1], DECODER))
    assert any((masked[key] != value).any() for key, value in plain.items())
    assert (runs["drafts"] / "context").is_dir()
    rows = [line.split(" | ") for line in told.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1 : len(NAMES) + 1]] == [f"| {name}" for name in NAMES]
    assert [bool(row[5].strip()) for row in rows[1 : len(NAMES) + 1]] == [False] + [True] * len(
        OPTIONS
    )


def test_the_first_rows_are_the_papers_stages_at_the_size_of_the_last() -> None:
    small = load_recipe(ROWS["contrast"].recipe)
    stage_1, stage_2 = (stage for stage in small.stages if stage.name in FURTHER_STAGES)

    assert stage_1.language_model.config.keys() == {"light_t", "dropout"}
    assert (stage_2.adapter.source, stage_2.language_model.source) == ("build", PRETRAINING)
    assert not stage_1.encoder.config["motion"]
    assert load_recipe(ROWS[MOTION].recipe).stages[1].encoder.config["motion"]
