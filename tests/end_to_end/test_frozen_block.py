"""Stages whose visual encoder has a frozen layer of a language model at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny
from shrinking import stand_in
from unglossed.errors import InputError
from unglossed.inference.translator import SignTranslator
from unglossed.training.train import train_recipe

RECIPE = Path(__file__).with_name("tiny.yaml")
STAGE_1, STAGE_2 = "stages.visual_initialing", "stages.llm_fine_tuning"
INSIDE = "encoder.frozen_block.model."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), num_train=4, num_dev=2)


def weights(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return load_file(run / stage / "model" / "model.safetensors")


@pytest.mark.slow
def test_it_is_taken_from_a_model_never_moves_and_is_carried_over(
    corpus: str, tmp_path: Path
) -> None:
    source = stand_in("SmolLM2", tmp_path / "models")
    run, plain = tmp_path / "run", tmp_path / "plain"
    changes = [f"stages.{name}.epochs=1" for name in ("pretraining", "visual_initialing")]
    changes += [f"{STAGE_2}.epochs=1", f"{STAGE_1}.optimizer.weight_decay=0.1"]
    block = f"{STAGE_1}.encoder.config.frozen_block={{source: {source}}}"

    train_recipe(RECIPE, corpus, run, overrides=[*changes, block])
    train_recipe(RECIPE, corpus, plain, overrides=changes)

    llama = load_file(Path(source) / "model.safetensors")
    first, second = (
        weights(run, f"{i}-{name}")
        for i, name in ((2, "visual_initialing"), (3, "llm_fine_tuning"))
    )
    inside = {name.removeprefix(INSIDE): one for name, one in first.items() if INSIDE in name}
    layer = {name: llama[f"model.{name}"] for name in inside}  # the stand-in has one layer
    assert len(inside) == 10
    assert all(value.equal(layer[name]) for name, value in inside.items())
    of_encoder = [name for name in first if name.startswith("encoder.")]
    assert all(first[name].equal(second[name]) for name in of_encoder)
    without = weights(plain, "2-visual_initialing")
    assert {name for name in first if name not in without} == {
        *(f"{INSIDE}{name}" for name in inside),
        *(f"encoder.frozen_block.{m}.{w}" for m in ("into", "back") for w in ("weight", "bias")),
    }
    clip = next(Path(corpus.partition(":")[2]).rglob("test-0"))
    assert SignTranslator.from_pretrained(run).translate([clip])[0].media


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("3", "found 3, expected {source: FOLDER or hub name, layer: -1}"),
        ("{source: SOURCE, layers: 1}", "layers: no such key"),
        ("{source: SOURCE, layer: last}", "layer: found 'last', expected a whole number"),
        ("{source: SOURCE, layer: 1}", "found layer 1, expected one from -1 to 0"),
        ("{source: BARE}", "found a model of the type 'mbart', expected a decoder-only one"),
        ("{source: /else/where}", "/else/where: no such folder, expected a model folder"),
    ],
)
def test_what_is_no_block_is_said_before_the_first_stage(
    block: str, message: str, corpus: str, tmp_path: Path
) -> None:
    for word, kind in (("SOURCE", "SmolLM2"), ("BARE", "bare")):
        block = block.replace(word, stand_in(kind, tmp_path / "models"))
    change = f"{STAGE_1}.encoder.config.frozen_block={block}"

    with pytest.raises(InputError) as caught:
        train_recipe(RECIPE, corpus, tmp_path / "run", overrides=[change])

    assert "stages.visual_initialing.encoder.config.frozen_block: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_stage_cannot_put_another_one_into_an_encoder_that_it_takes_over(
    corpus: str, tmp_path: Path
) -> None:
    source = stand_in("SmolLM2", tmp_path / "models")
    changes = [
        f"{STAGE_1}.encoder.config.frozen_block={{source: {source}}}",
        f"{STAGE_2}.encoder.config.frozen_block={{source: {source}}}",
    ]

    with pytest.raises(InputError, match=r"llm_fine_tuning\.encoder.*a new encoder alone"):
        train_recipe(RECIPE, corpus, tmp_path / "run", overrides=changes)
