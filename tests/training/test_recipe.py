"""Recipes: the shipped ones load, inconsistent ones are refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from unglossed.errors import InputError
from unglossed.training.recipe import Recipe, find_recipe, load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))

RECIPE = """\
video: {resize: 36, crop: 32}
stages:
  - name: first
    encoder: {config: {backbone: {model_type: resnet}}}
    adapter: {}
    language_model: {config: {light_t: tiny}}
    learning_rates: {encoder: 0.01, adapter: 0.01, language_model: 0.01}
    epochs: 2
    batch_size: 4
  - name: second
    encoder: {source: first}
    adapter: {}
    language_model: {source: first}
    frozen: [encoder]
    learning_rates: {adapter: 0.01, language_model: 1.0e-5}
    epochs: 1
    batch_size: 4
    feature_views: 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize("shipped", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_by_its_name(shipped: Path) -> None:
    recipe = load_recipe(shipped.stem)

    assert recipe == load_recipe(shipped)
    assert recipe.description
    last = {"segmenter": "segmentation", "fla_llm_reward": "reward"}
    assert recipe.stages[-1].objective == last.get(shipped.stem, "translation")


def test_fla_llm_has_the_papers_values() -> None:
    first, second = load_recipe("fla_llm").stages

    assert (first.optimizer.name, first.optimizer.momentum) == ("sgd", 0.9)
    assert set(first.learning_rates.values()) == {1e-2}
    assert (first.batch_size, first.epochs, first.label_smoothing) == (8, 75, 0.2)
    assert first.language_model.config["light_t"] == "base"
    assert second.optimizer.name == "adam"
    assert second.learning_rates == {"adapter": 1e-3, "language_model": 1e-5}
    assert (second.batch_size, second.label_smoothing, second.frozen) == (16, 0.2, ("encoder",))
    assert first.schedule.name == second.schedule.name == "cosine"
    recipe = load_recipe("fla_llm")
    assert (recipe.video.frame_share, recipe.video.crop, recipe.decoding.beams) == (0.25, 224, 5)


def test_an_unknown_name_lists_the_shipped_recipes() -> None:
    with pytest.raises(InputError) as caught:
        find_recipe("fla_lm")

    assert "fla_lm" in str(caught.value)
    assert all(path.stem in str(caught.value) for path in RECIPES)


def test_a_file_beside_the_shipped_ones_is_found_by_its_path(path: Path) -> None:
    assert find_recipe(path) == path
    assert find_recipe("demo.yaml") == find_recipe("demo")


def test_a_resolved_recipe_reads_back_the_same(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, ["seed=3", "stages.first.optimizer.betas=[0.8, 0.9]"])
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")

    assert load_recipe(copy) == recipe
    assert recipe.stages[0].optimizer.betas == (0.8, 0.9)


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        ("stages.first.epoch=3", ["stages.first.epoch", "no such key"]),
        ("stages.second.epochs=0", ["stages.second.epochs", "found 0", "greater than 0"]),
        ("stages.first.batch_size=x", ["stages.first.batch_size", "'x'", "integer"]),
        ("stages.first.name=Stage 1", ["stages.Stage 1.name", "'Stage 1'"]),
        ("stages.second.name=first", ["two have the same name", "first"]),
        ("stages=[]", ["stages", "at least 1"]),
        ("video.crop=40", ["video", "crop 40 is larger than resize 36"]),
        ("video.frame_share=0", ["video.frame_share", "greater than 0"]),
        ("video.augmentation.probability=2", ["video.augmentation.probability", "2"]),
        ("stages.first.optimizer.name=lion", ["stages.first.optimizer.name", "lion", "adamw"]),
        ("stages.first.frozen=[decoder]", ["stages.first.frozen.0", "decoder", "language_model"]),
        ("stages.second.learning_rates.encoder=0.1", ["stages.second", "adapter", "trained"]),
        ("stages.first.learning_rates={encoder: 0.1}", ["stages.first", "language_model"]),
        (
            "stages.second.learning_rates={adapter: 1, language_model: 1, new_tokens: 1}",
            ["stages.second", "learning_rates.new_tokens", "language_model frozen", "lora"],
        ),
        (
            "stages.first.learning_rates.gloss_head=0.1",
            ["stages.first.learning_rates.gloss_head: no such key, expected", "'ctc_head'"],
        ),
        ("stages.first.learning_rates.adapter=0", ["stages.first.learning_rates.adapter", "0"]),
        ("stages.first.feature_views=1", ["stages.first", "feature_views", "frozen encoder"]),
        ("stages.first.adapter=null", ["stages.first", "translation", "adapter"]),
        ("stages.first.objective=denoising", ["stages.first", "denoising", "encoder"]),
        (
            "stages.second.encoder.source=frist",
            ["stages.second.encoder.source", "frist", "first", "./"],
        ),
        ("stages.first.encoder.source=second", ["stages.first.encoder.source", "second"]),
        ("stages.first.language_model.source=second", ["stages.first.language_model.source"]),
        ("stages.first.adapter.source=first", ["stages.first.adapter.source", "first"]),
        ("stages.first.frozen=[encoder.backbone, ctc]", ["first.frozen.1", "ctc", "encoder"]),
        ("stages.second.frozen=[encoder.backbone]", ["stages.second", "trained", "encoder"]),
        ("stages.first.text_encoder={}", ["stages.first", "translation", "text_encoder"]),
        ("stages.first.objective=vlp", ["stages.first", "vlp", "text_encoder"]),
        ("stages.first.objective=gloss_ctc", ["stages.first", "gloss_ctc", "['encoder']"]),
        ("stages.first.features=sign", ["stages.first.features", "'sign'", "sign_wise"]),
        ("stages.first.masking={share: 0.2}", ["stages.first", "masking", "translation"]),
        ("stages.first.restoration_weight=0.5", ["first", "restoration_weight", "translation"]),
        ("stages.first.skip=perhaps", ["stages.first.skip", "'perhaps'", "true"]),
        ("base=fla_llm", ["base", "no such key"]),
        ("tokenizer.new_tokens=['']", ["tokenizer.new_tokens", "''"]),
        ("seed=-1", ["seed", "-1"]),
        ("seed=5000000000", ["seed", "5000000000"]),
        ("stages.first.optimizer={betas: [1, 1]}", ["first.optimizer.betas", "less than 1"]),
        (
            "stages.second.frozen=[encoder, adapter, language_model]",
            ["stages.second: frozen: found all parts, expected one that is trained"],
        ),
        ("decoding.beams=0", ["decoding.beams", "greater than"]),
        ("stages.first.schedule={name: linear, min_ratio: 0.1}", ["first.schedule", "cosine"]),
        ("stages.first.optimizer={name: sgd, momentum: 0}", ["first.optimizer", "nesterov"]),
        ("generated_text={num_sentences: 5, level: 4}", ["extra_texts.level", "4", "3"]),
    ],
)
def test_an_inconsistent_recipe_is_refused_in_one_line(
    path: Path, override: str, pieces: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(path, [override])

    message = str(caught.value)
    assert message.startswith("key=value on the command line: ")
    assert "\n" not in message
    assert all(piece in message for piece in pieces), message
    assert len(message) < len(str(path)) + 150  # not the whole recipe


def test_new_tokens_to_train_are_some(path: Path) -> None:
    changes = [
        "stages.second.frozen=[encoder, language_model]",
        "stages.second.learning_rates={adapter: 1, new_tokens: 1}",
    ]
    with pytest.raises(InputError) as raised:
        load_recipe(path, changes)
    assert str(raised.value) == (
        "key=value on the command line: stages.second.learning_rates.new_tokens:"
        " found no tokenizer.new_tokens, expected some to train"
    )
    recipe = load_recipe(path, [*changes, "tokenizer.new_tokens=[<signs>]"])
    assert recipe.stages[1].learning_rates == {"adapter": 1, "new_tokens": 1}
    prompt = "stages.second.language_model.prompt={before: <signs>, after: </sings>}"
    changes += ["tokenizer.new_tokens=[<signs>, </signs>]", prompt]
    with pytest.raises(InputError) as raised:
        load_recipe(path, changes)
    assert str(raised.value) == (
        "key=value on the command line: stages.second.language_model.prompt: found no '</signs>',"
        " expected all of tokenizer.new_tokens, which learning_rates.new_tokens trains"
    )


def test_a_stage_that_freezes_all_but_one_part_names_one_rate(path: Path) -> None:
    recipe = load_recipe(
        path,
        [
            "stages.second.frozen=[encoder, language_model]",
            "stages.second.learning_rates={adapter: 0.1}",
        ],
    )

    assert isinstance(recipe, Recipe)
    assert recipe.stages[1].learning_rates == {"adapter": 0.1}


def test_a_language_model_may_come_from_a_folder_or_hub(path: Path) -> None:
    recipe = load_recipe(path, ["stages.first.language_model={source: facebook/mbart-large-cc25}"])

    assert recipe.stages[0].language_model.source == "facebook/mbart-large-cc25"


GLOSSES = """\
base: recipe
stages:
  - name: glosses
    objective: gloss_ctc
    encoder: {config: {backbone: {model_type: resnet}}}
    learning_rates: {encoder: 0.01, ctc_head: 0.01}
    epochs: 2
    batch_size: 4
  - {name: first, skip: true}
  - {name: second, encoder: {source: glosses}, language_model: {source: ./lm}}
"""


def test_a_recipe_says_only_where_it_differs_from_its_base(path: Path, tmp_path: Path) -> None:
    (tmp_path / "glosses.yaml").write_text(GLOSSES, encoding="utf-8")

    base, recipe = load_recipe(path), load_recipe(tmp_path / "glosses.yaml")

    assert [stage.name for stage in recipe.stages] == ["glosses", "second"]
    assert recipe.video == base.video
    changed = {"encoder", "language_model"}
    before, after = base.stages[1], recipe.stages[1]
    assert after.model_dump(exclude=changed) == before.model_dump(exclude=changed)
    assert after.encoder is not None
    assert after.encoder.source == "glosses"


def test_a_base_may_have_a_base_and_is_found_beside_the_recipe(path: Path, tmp_path: Path) -> None:
    (tmp_path / "middle.yaml").write_text("base: recipe.yaml\nseed: 3\n", encoding="utf-8")
    (tmp_path / "demo.yaml").write_text("base: middle\n", encoding="utf-8")
    (tmp_path / "top.yaml").write_text("base: demo\nvideo: {crop: 30}\n", encoding="utf-8")

    recipe = load_recipe(tmp_path / "top.yaml", ["stages.first.epochs=9"])

    assert (recipe.seed, recipe.video.crop, recipe.video.resize) == (3, 30, 36)
    assert recipe.stages[0].epochs == 9
    assert len(recipe.stages) == 2


def test_a_shipped_recipe_can_be_the_base_of_a_users(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: fla_llm\nseed: 7\n", encoding="utf-8")

    assert load_recipe(path) == load_recipe("fla_llm", ["seed=7"])


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ("base: nothing\n", ["base", "nothing", "fla_llm"]),
        ("base: mine\n", ["base", "circle", "mine.yaml -> mine.yaml"]),
        ("base: other\n", ["base", "circle", "mine.yaml -> other.yaml -> mine.yaml"]),
        ("base: 3\n", ["base", "found 3", "name of a recipe"]),
        ("base: fla_llm\nstages: [{name: new}]\n", ["stages.new", "missing"]),
        ("base: fla_llm\nstages: [{name: visual_initialing, skip: true}]\n", ["encoder.source"]),
    ],
)
def test_a_base_that_does_not_fit_is_one_line(
    content: str, pieces: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    (tmp_path / "other.yaml").write_text("base: mine\n", encoding="utf-8")

    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "mine.yaml")

    message = str(caught.value)
    assert "mine.yaml: " in message or "other.yaml: " in message
    assert "\n" not in message
    assert all(piece in message for piece in pieces), message


def test_a_skipped_stage_is_gone(path: Path) -> None:
    changes = ["stages.second.encoder={config: {backbone: {model_type: resnet}}}"]
    changes += ["stages.second.language_model={source: ./lm}", "stages.first.skip=true"]

    recipe = load_recipe(path, changes)

    assert [stage.name for stage in recipe.stages] == ["second"]
    assert load_recipe(path, ["stages.first.skip=false"]) == load_recipe(path)


def test_a_change_of_a_stage_that_a_recipe_skips_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "glosses.yaml").write_text(GLOSSES, encoding="utf-8")

    assert load_recipe(tmp_path / "glosses.yaml", ["stages.1.epochs=9"]).stages[1].epochs == 9
    with pytest.raises(InputError, match=r"found 'first', expected one of \['glosses', 'second'\]"):
        load_recipe(tmp_path / "glosses.yaml", ["stages.first.epochs=9"])


VLP = [
    "stages.first.objective=vlp",
    "stages.first.text_encoder={source: ./lm}",
    "stages.first.learning_rates={encoder: 0.1, adapter: 0.1, language_model: 0.1,"
    " text_encoder: 0.1, alignment: 0.1}",
]
GLOSS = [
    "stages.first.objective=gloss_ctc",
    "stages.first.adapter=null",
    "stages.first.language_model=null",
    "stages.first.learning_rates={encoder: 0.1, ctc_head: 0.1}",
]
DENOISING = [
    "stages.first.objective=denoising",
    "stages.first.encoder=null",
    "stages.first.adapter=null",
    "stages.first.learning_rates={language_model: 0.1}",
    "stages.second.encoder={config: {backbone: {model_type: resnet}}}",
]


def test_stages_of_other_objectives_have_parts_of_their_own(path: Path) -> None:
    vlp = load_recipe(path, [*VLP, "stages.first.masking={share: 0.2}"]).stages[0]
    assert vlp.masking is not None
    assert (vlp.masking.share, vlp.masking.mean_span) == (0.2, 3.5)
    part = "{source: ./lm, lora: {}, quantization: 4bit, random_init: true}"
    text = load_recipe(path, [*DENOISING, f"stages.first.language_model={part}"]).stages[0]
    assert text.language_model is not None
    assert text.language_model.lora is not None
    gloss = load_recipe(path, [*GLOSS, "stages.second.language_model.source=./lm"]).stages[0]
    assert gloss.learning_rates == {"encoder": 0.1, "ctc_head": 0.1}


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ([*VLP, "stages.first.batch_size=1"], ["stages.first", "batch_size", "compare"]),
        (
            [*DENOISING, "stages.first.language_model.prompt={before: x}"],
            ["stages.first: language_model.prompt means nothing to the objective denoising"],
        ),
        (
            [*DENOISING, "stages.first.frozen=[language_model.model.model.encoder]"],
            ["stages.first: frozen means nothing to the objective denoising"],
        ),
        (
            [
                *DENOISING,
                "stages.first.frozen=[language_model]",
                "stages.first.learning_rates={}",
            ],
            ["stages.first: frozen means nothing to the objective denoising"],
        ),
        ([*VLP, "stages.first.dev_beams=2"], ["stages.first", "dev_beams", "vlp"]),
        (VLP[:2], ["stages.first", "alignment", "text_encoder"]),
        ([*GLOSS, "stages.first.label_smoothing=0.1"], ["label_smoothing", "gloss_ctc"]),
        (GLOSS, ["stages.second.language_model.source", "first has no language_model"]),
        (
            [*GLOSS, "stages.second.language_model.source=./lm", "audio={}"],
            ["stages.first", "gloss_ctc", "video"],
        ),
        (
            [
                *GLOSS,
                "stages.second.language_model.source=./lm",
                "stages.first.objective=transcript_ctc",
            ],
            ["stages.first: transcript_ctc is for audio, not for video"],
        ),
    ],
)
def test_an_objective_refuses_what_it_has_no_use_for(
    path: Path, changes: list[str], pieces: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(path, changes)

    message = str(caught.value)
    assert message.startswith("key=value on the command line: ")
    assert "\n" not in message
    assert all(piece in message for piece in pieces), message


def test_a_source_that_is_skipped_is_said_to_be(tmp_path: Path) -> None:
    names = [stage.name for stage in load_recipe("demo").stages]
    skipped = names[0]
    with pytest.raises(InputError) as caught:
        load_recipe("demo", [f"stages.{skipped}.skip=true"])
    message = str(caught.value)
    assert message.startswith("key=value on the command line: stages.")
    assert f"the stage {skipped} is skipped: name a published model's folder or hub" in message
    assert "RUN/" not in message
    with pytest.raises(InputError) as caught:
        load_recipe("fla_llm", ["stages.visual_initialing.skip=true"])
    assert "encoder.source: the stage visual_initialing is skipped: " in str(caught.value)
    assert "or a run's that trained the stage, as RUN/1-visual_initialing/model" in str(
        caught.value
    )


def test_a_mistake_on_the_command_line_is_not_the_files() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("demo", ["seed=x"])
    assert str(caught.value).startswith("key=value on the command line: seed: found 'x'")


def test_a_mistake_of_the_file_stays_the_files(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("base: demo\nsede: 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"own\.yaml: sede: no such key"):
        load_recipe(tmp_path / "own.yaml", ["seed=4"])


OLD_NAMES = {
    "video.sampling_rate": ("video.frame_share", 0.5),
    "audio.sample_rate": ("audio.audio_rate", 8000),
    "generated_text": ("extra_texts", {"num_sentences": 3, "level": 2, "seed": 0}),
}


def value_of(recipe: Recipe, key: str) -> Any:
    found: Any = recipe.model_dump()
    for name in key.split("."):
        found = found[name]
    return found


def nested(key: str, value: Any) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize("old", list(OLD_NAMES))
def test_a_key_of_an_earlier_version_is_read_and_noted(
    old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, value = OLD_NAMES[old]
    recipe = "lst" if old.startswith("audio") else "demo"
    path = tmp_path / "own.yaml"
    ways: dict[str, list[str]] = {
        str(path): [],  # in a file on top of one that has the new name
        recipe: [f"{old}={json.dumps(value)}"],
    }
    if "." in old:
        parent, _, last = old.partition(".")
        ways |= {f"{recipe} ": [f"{parent}={json.dumps({last: value})}"]}
    for name, overrides in ways.items():
        path.write_text(yaml.safe_dump({"base": recipe, **nested(old, value)}), encoding="utf-8")
        assert value_of(load_recipe(name.strip(), overrides), new) == value
        assert f"{old} is now called {new}\n" in capsys.readouterr().err


def test_keys_below_a_renamed_one_are_changed(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = ["generated_text={num_sentences: 3, level: 2}", "generated_text.level=1"]
    assert value_of(load_recipe("demo", drawn), "extra_texts")["level"] == 1
    assert capsys.readouterr().err.count("is now called extra_texts") == 2


def test_a_key_under_both_of_its_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("base: demo\nvideo: {sampling_rate: 1, frame_share: 1}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"found video\.sampling_rate and video\.frame_share"):
        load_recipe(path)


ALIGNED = "stages.first.alignment=tokens", "stages.first.learning_rates.alignment=0.01"
TRAINED = "stages.second.frozen=[]", "stages.second.learning_rates.encoder=0.01"


def test_a_choice_by_an_alignment_wants_one_that_will_lie_beside_the_model(path: Path) -> None:
    contrast = "decoding.choice=contrast"
    with pytest.raises(InputError, match=r"choice: found contrast, expected a stage that has"):
        load_recipe(path, [contrast])
    with pytest.raises(InputError, match="but the stage second trains the encoder of first's"):
        load_recipe(path, [contrast, *ALIGNED, *TRAINED, "stages.second.feature_views=0"])

    assert load_recipe(path, [contrast, *ALIGNED]).decoding.choice == "contrast"


def test_a_reward_does_not_tune_what_reads_texts_beside_the_features(path: Path) -> None:
    context = "stages.second.context={source: first, folds: 2}"
    third = {
        "name": "third",
        "objective": "reward",
        **{part: {"source": "second"} for part in ("encoder", "adapter", "language_model")},
        "frozen": ["encoder"],
        "learning_rates": {"adapter": 0.01, "language_model": 0.01},
        "epochs": 1,
        "batch_size": 2,
    }
    content = yaml.safe_load(RECIPE)
    content["stages"].append(third)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")

    assert len(load_recipe(path).stages) == 3
    with pytest.raises(InputError, match=r"stages\.third\.language_model\.source: found second"):
        load_recipe(path, [context, "stages.second.learning_rates.context=0.01"])
