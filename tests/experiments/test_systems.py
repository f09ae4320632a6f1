"""The compared systems: same parts and rates, the same epochs through the video, other stages."""

from pathlib import Path

import pytest

from experiments.compare import CONDITIONS, Condition
from experiments.systems import (
    FACTORIZED,
    GLOSS_BASED,
    JOINT,
    JOINT_LONG,
    JOINT_ONE_RATE,
    SYSTEMS,
    language_model_recipe,
    system_recipe,
)
from unglossed.errors import InputError
from unglossed.training.recipe import Recipe, load_recipe

LANGUAGE_MODEL = Path("seed-0/language_model")
DEMO = load_recipe("demo")


def build(system: str, recipe: Recipe = DEMO) -> Recipe:
    return system_recipe(system, recipe, "de", LANGUAGE_MODEL, norms_every=3)


def test_factorized_is_the_recipe_itself_behind_a_shared_language_model() -> None:
    recipe = build(FACTORIZED)

    assert [stage.name for stage in recipe.stages] == ["visual_initialing", "llm_fine_tuning"]
    source = "seed-0/language_model/1-language_pretraining/model"
    expected = DEMO.stages[2].model_copy(
        update={
            "language_model": DEMO.stages[2].language_model.model_copy(update={"source": source}),
            "norms_every": 3,
        }
    )
    assert recipe.stages[0] == DEMO.stages[1].model_copy(update={"norms_every": 3})
    assert recipe.stages[1] == expected
    assert recipe.tokenizer.pretrained == source
    assert recipe.tokenizer.start_token == "<de>"


def test_the_shared_language_model_is_trained_as_in_the_recipe() -> None:
    recipe = language_model_recipe(DEMO)

    assert recipe is not None
    assert recipe.stages == (DEMO.stages[0],)
    assert recipe.extra_texts == DEMO.extra_texts
    assert recipe.tokenizer == DEMO.tokenizer


def test_joint_trains_the_same_parts_at_the_same_rates_at_once() -> None:
    factorized, joint = build(FACTORIZED).stages, build(JOINT).stages

    assert len(joint) == 1
    assert joint[0].frozen == ()
    assert joint[0].encoder == factorized[0].encoder
    assert joint[0].adapter == factorized[1].adapter
    assert joint[0].language_model == factorized[1].language_model
    assert joint[0].learning_rates == {
        "encoder": factorized[0].learning_rates["encoder"],
        "alignment": factorized[0].learning_rates["alignment"],
        "adapter": factorized[1].learning_rates["adapter"],
        "language_model": factorized[1].learning_rates["language_model"],
    }


def test_joint_with_one_rate_is_joint_with_that_of_the_language_model() -> None:
    joint, one_rate = build(JOINT).stages, build(JOINT_ONE_RATE).stages

    rate = joint[0].learning_rates["language_model"]
    assert rate != joint[0].learning_rates["encoder"]
    rates = dict.fromkeys(joint[0].learning_rates, rate)
    assert one_rate == (joint[0].model_copy(update={"learning_rates": rates}),)


def test_gloss_based_differs_from_factorized_in_how_the_encoder_is_trained() -> None:
    factorized, gloss_based = build(FACTORIZED).stages, build(GLOSS_BASED).stages

    assert gloss_based[0].objective == "gloss_ctc"
    assert gloss_based[0].encoder == factorized[0].encoder
    assert gloss_based[0].optimizer == factorized[0].optimizer
    source = gloss_based[0].name
    assert gloss_based[1] == factorized[1].model_copy(
        update={"encoder": factorized[1].encoder.model_copy(update={"source": source})}
    )


def test_every_system_goes_through_the_video_equally_often() -> None:
    epochs = {
        system: sum(stage.epochs for stage in build(system).stages if "encoder" not in stage.frozen)
        for system in SYSTEMS
    }

    eight = DEMO.stages[1].epochs
    assert epochs.pop(JOINT_LONG) == eight + DEMO.stages[2].epochs
    assert set(epochs.values()) == {eight}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_change_of_the_recipe_reaches_every_system(system: str) -> None:
    change = "stages.visual_initialing.encoder.config.temporal_dim=128"
    recipe = build(system, load_recipe("demo", [change, "decoding.beams=2"]))

    assert recipe.stages[0].encoder is not None
    assert recipe.stages[0].encoder.config["temporal_dim"] == 128
    assert recipe.decoding.beams == 2


def test_a_language_model_from_elsewhere_stays_where_it_is() -> None:
    recipe = load_recipe("fla_llm")

    assert language_model_recipe(recipe) is None
    joint = system_recipe(JOINT, recipe, "de", None, norms_every=0)
    assert joint.stages[0].language_model == recipe.stages[1].language_model
    assert joint.tokenizer == recipe.tokenizer


def test_a_recipe_with_other_stages_is_refused() -> None:
    with pytest.raises(InputError, match=r"found stages with the objectives \['denoising'\]"):
        language_model_recipe(DEMO.model_copy(update={"stages": DEMO.stages[:1]}))


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name != "demo"])
def test_a_condition_changes_the_corpus_or_the_recipe(name: str) -> None:
    condition = CONDITIONS[name]

    assert condition != Condition()
    changed = load_recipe("demo", list(condition.overrides)) != DEMO
    assert changed == bool(condition.overrides)
