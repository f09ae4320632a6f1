"""The systems that `compare` sets side by side, as recipes made from one.

That recipe has FLa-LLM's two stages, perhaps behind one that pre-trains the language model. All
systems get its parts, rates and sizes; what differs is what is trained when.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unglossed.errors import InputError
from unglossed.training.recipe import Recipe

FACTORIZED, GLOSS_BASED = "factorized", "gloss_based"
JOINT, JOINT_LONG, JOINT_ONE_RATE = "joint", "joint_long", "joint_one_rate"


def split_stages(
    recipe: Recipe,
) -> tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any]]:
    """The stages of a recipe as dicts: the language model's pre-training or None, 1 and 2.

    Raises:
        InputError: it has other stages.
    """
    objectives = [stage.objective for stage in recipe.stages]
    if objectives[-2:] != ["translation"] * 2 or objectives[:-2] not in ([], ["denoising"]):
        raise InputError(
            f"recipe: found stages with the objectives {objectives}, expected two of translation,"
            " perhaps behind one of denoising"
        )
    stages = recipe.model_dump(mode="json")["stages"]
    return (stages[0] if len(stages) == 3 else None), stages[-2], stages[-1]


def language_model_recipe(recipe: Recipe) -> Recipe | None:
    """What trains the language model alone; None where it comes from elsewhere."""
    pretraining, _, _ = split_stages(recipe)
    return None if pretraining is None else _with_stages(recipe, [pretraining])


def system_recipe(
    system: str, recipe: Recipe, language: str, language_model: Path | None, norms_every: int
) -> Recipe:
    """The recipe of one system.

    Args:
        system: a key of `SYSTEMS`.
        recipe: what all systems are made from.
        language: of the corpus.
        language_model: run folder of `language_model_recipe`; None where there is none.
        norms_every: see `StageSettings`.
    """
    pretraining, first, second = split_stages(recipe)
    shared: dict[str, Any] = {"extra_texts": None}
    if pretraining is not None:
        assert language_model is not None
        folder = language_model / f"1-{pretraining['name']}" / "model"
        second["language_model"]["source"] = str(folder)
        if recipe.tokenizer.pretrained is None:
            shared["tokenizer"] = {"pretrained": str(folder), "start_token": f"<{language}>"}
    stages = SYSTEMS[system](first, second)
    for stage in stages:
        stage["norms_every"] = norms_every
    return _with_stages(recipe, stages, **shared)


def _factorized(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    return [first, second]


def _joint(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Encoder, adapter and language model at once, as long as stage 1 (FLa-LLM, Table 4)."""
    beside = ("encoder", "alignment")
    kept = {part: rate for part, rate in first["learning_rates"].items() if part in beside}
    rates = {**second["learning_rates"], **kept}
    parts = {name: second[name] for name in ("adapter", "language_model")}
    return [{**first, **parts, "name": JOINT, "learning_rates": rates}]


def _joint_long(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The same for the epochs of both stages: as many sentences read as factorized."""
    (stage,) = _joint(first, second)
    return [{**stage, "epochs": first["epochs"] + second["epochs"]}]


def _joint_one_rate(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The same with the language model's learning rate for all parts."""
    (stage,) = _joint(first, second)
    rate = second["learning_rates"]["language_model"]
    return [{**stage, "learning_rates": dict.fromkeys(stage["learning_rates"], rate)}]


def _gloss_based(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The encoder learns glosses by CTC, then stage 2 as it is (FLa-LLM, Figure 1)."""
    rate = first["learning_rates"]["encoder"]
    kept = ("encoder", "optimizer", "schedule", "epochs", "batch_size", "evaluate_every")
    recognition = {
        **{name: first[name] for name in (*kept, "precision")},
        "name": "gloss_recognition",
        "objective": "gloss_ctc",
        "learning_rates": {"encoder": rate, "ctc_head": rate},
    }
    inherited = {**second["encoder"], "source": recognition["name"]}
    return [recognition, {**second, "encoder": inherited}]


SYSTEMS = {
    FACTORIZED: _factorized,
    JOINT: _joint,
    JOINT_LONG: _joint_long,
    JOINT_ONE_RATE: _joint_one_rate,
    GLOSS_BASED: _gloss_based,
}
"""How each system's stages are made from stages 1 and 2."""


def _with_stages(recipe: Recipe, stages: list[dict[str, Any]], **changes: Any) -> Recipe:
    # Frames are read by the training process itself: there are others on the other cores.
    return Recipe.model_validate(
        {**recipe.model_dump(mode="json"), "num_workers": 0, "stages": stages, **changes}
    )
