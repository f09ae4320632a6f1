"""Building a stage: where its parts come from, what is frozen, and what does not fit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    LlamaConfig,
    MBartConfig,
    MBartForConditionalGeneration,
    ResNetConfig,
    ResNetModel,
)

import tiny
from planned import build_recogniser, build_text_model, build_translator, plan
from unglossed.errors import InputError
from unglossed.models.language_model import LightT, light_t_config
from unglossed.models.recogniser import Recogniser
from unglossed.models.translator import PARTS, Translator
from unglossed.models.tuning import QuantizedLinear, is_lora
from unglossed.models.vlp import VisualLanguageModel
from unglossed.training.optimizers import build_optimizer
from unglossed.training.parts import plan_language_model, refuse_unknown
from unglossed.training.plan import plan_stages
from unglossed.training.recipe import load_recipe
from unglossed.training.settings import LanguageModelSettings, StageSettings

BACKBONE = tiny.ENCODER["backbone"]
SHAPE = {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}
PROCESSOR = tiny.tiny_processor()


def stage(**changes: Any) -> StageSettings:
    """A translation stage that builds everything, with changes."""
    frozen = changes.get("frozen", ())
    settings: dict[str, Any] = {
        "name": "second",
        "encoder": {"config": {"backbone": BACKBONE, "temporal_dim": 24}},
        "adapter": {"config": {"hidden_dim": 32}},
        "language_model": {"config": {"light_t": SHAPE}},
        "learning_rates": {part: 0.01 for part in PARTS if part not in frozen},
        "epochs": 1,
        "batch_size": 2,
    }
    return StageSettings.model_validate(settings | changes)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder of an earlier stage, with weights that no new model has."""
    folder = tiny.tiny_translator(tmp_path_factory.mktemp("first"))
    model = Translator.from_pretrained(folder).train()
    frames = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    model.encode(frames, torch.tensor([6]))  # moves the statistics
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder of an earlier stage that trained a language model alone."""
    folder = tmp_path_factory.mktemp("pretraining")
    torch.manual_seed(5)
    config = MBartConfig(
        vocab_size=len(PROCESSOR.tokenizer),
        d_model=16,
        **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")},
    )
    MBartForConditionalGeneration(config).save_pretrained(folder)
    return folder


def assert_same_weights(module: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = module.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


def message_of(settings: StageSettings, earlier: dict[str, Path]) -> str:
    with pytest.raises(InputError) as caught:
        build_translator(settings, earlier, PROCESSOR)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_everything_new() -> None:
    model = build_translator(stage(), {}, PROCESSOR)

    assert isinstance(model.language_model.model, LightT)
    assert model.config.encoder["temporal_kernel"] == 3  # a default, written down
    assert model.config.encoder["image_mean"] == [0.485, 0.456, 0.406]
    assert model.adapter.hidden.out_features == 32
    tokens = model.language_model.model.config
    assert tokens.vocab_size == len(PROCESSOR.tokenizer)
    assert tokens.decoder_start_token_id == PROCESSOR.start_token_id
    assert tokens.pad_token_id == PROCESSOR.tokenizer.pad_token_id
    assert tokens.eos_token_id == PROCESSOR.tokenizer.eos_token_id
    assert all(weight.requires_grad for weight in model.parameters())


def test_an_inherited_part_brings_weights_and_statistics(first: Path) -> None:
    source = Translator.from_pretrained(first)

    model = build_translator(stage(encoder={"source": "first"}), {"first": first}, PROCESSOR)

    assert_same_weights(model.encoder, source.encoder)
    assert model.encoder.temporal.norm.num_batches_tracked == 1
    assert model.config.encoder == source.config.encoder
    assert not torch.equal(model.adapter.hidden.weight, source.adapter.hidden.weight)


def test_all_parts_can_be_inherited(first: Path) -> None:
    parts = {part: {"source": "first"} for part in PARTS}

    model = build_translator(stage(**parts), {"first": first}, PROCESSOR)

    assert_same_weights(model, Translator.from_pretrained(first))


def test_a_language_model_pretrained_on_text_is_inherited(pretraining: Path) -> None:
    settings = stage(language_model={"source": "pretraining"})

    model = build_translator(settings, {"pretraining": pretraining}, PROCESSOR)

    source = MBartForConditionalGeneration.from_pretrained(pretraining)
    assert_same_weights(model.language_model.model, source)
    assert model.adapter.output.out_features == 16
    lm = model.language_model.model
    assert lm.lm_head.weight.data_ptr() == lm.model.decoder.embed_tokens.weight.data_ptr()


def test_an_inherited_configuration_can_be_changed(first: Path) -> None:
    settings = stage(language_model={"source": "first", "config": {"dropout": 0.4}})

    model = build_translator(settings, {"first": first}, PROCESSOR)

    assert model.language_model.model.config.dropout == 0.4
    assert model.language_model.model.model.decoder.layers[0].dropout == 0.4


def test_folders_with_pretrained_weights_are_loaded(pretraining: Path, tmp_path: Path) -> None:
    backbone = ResNetModel(ResNetConfig(**{k: v for k, v in BACKBONE.items() if k != "model_type"}))
    backbone.save_pretrained(tmp_path)
    settings = stage(
        encoder={"config": {"backbone": str(tmp_path)}},
        language_model={"source": str(pretraining)},
    )

    model = build_translator(settings, {}, PROCESSOR)

    assert_same_weights(model.encoder.backbone, backbone)
    source = MBartForConditionalGeneration.from_pretrained(pretraining)
    assert_same_weights(model.language_model.model, source)
    assert model.language_model.model.config.decoder_start_token_id == PROCESSOR.start_token_id


def test_frozen_parts_are_frozen(first: Path) -> None:
    settings = stage(encoder={"source": "first"}, frozen=["encoder"])

    model = build_translator(settings, {"first": first}, PROCESSOR).train()

    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    assert not model.encoder.training
    assert all(weight.requires_grad for weight in model.adapter.parameters())
    assert model.language_model.training


def denoising_stage(language_model: dict[str, Any], **changes: Any) -> StageSettings:
    """A stage that trains a language model alone."""
    alone = {"encoder": None, "adapter": None, "objective": "denoising"}
    rates = {"language_model": 0.1}
    return stage(**alone, language_model=language_model, learning_rates=rates, **changes)


MBART = {"model_type": "mbart", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}


def test_a_language_model_alone_is_built_or_loaded(pretraining: Path) -> None:
    built = build_text_model(denoising_stage({"config": MBART}), {}, PROCESSOR)
    loaded = build_text_model(denoising_stage({"source": str(pretraining)}), {}, PROCESSOR)

    assert built.config.vocab_size == len(PROCESSOR.tokenizer)
    assert built.config.pad_token_id == PROCESSOR.tokenizer.pad_token_id
    assert_same_weights(loaded, MBartForConditionalGeneration.from_pretrained(pretraining))


def test_a_language_model_alone_is_that_of_an_earlier_stage(
    pretraining: Path, tmp_path: Path
) -> None:
    """Be that one a translator or trained on text alone too."""
    translator = build_translator(stage(language_model={"config": MBART}), {}, PROCESSOR)
    translator.save_pretrained(tmp_path)
    earlier = {"first": tmp_path, "pretraining": pretraining}
    plain = MBartForConditionalGeneration.from_pretrained(pretraining)
    for name, source in (("first", translator.language_model.model), ("pretraining", plain)):
        model = build_text_model(denoising_stage({"source": name}), earlier, PROCESSOR)
        assert_same_weights(model, source)


@pytest.mark.parametrize("inherited", [True, False])
def test_a_language_model_alone_is_changed_and_drawn_anew(
    inherited: bool, pretraining: Path
) -> None:
    earlier = {"pretraining": pretraining} if inherited else {}
    source = "pretraining" if inherited else str(pretraining)
    weights = MBartForConditionalGeneration.from_pretrained(pretraining).state_dict()
    name = "model.encoder.layers.0.fc1.weight"
    for random_init in (False, True):
        part = {"source": source, "config": {"dropout": 0.4}, "random_init": random_init}
        model = build_text_model(denoising_stage(part), earlier, PROCESSOR)
        assert model.config.dropout == 0.4
        assert model.model.encoder.layers[0].dropout == 0.4
        assert torch.equal(model.state_dict()[name], weights[name]) is not random_init


TEXT_PARTS = ["language_model", "text_encoder"]
LORA = {"r": 2, "alpha": 8.0, "dropout": 0.0}


@pytest.mark.parametrize("quantization", [None, "4bit"])
def test_a_language_model_alone_trains_lora_which_later_stages_have(
    quantization: str | None, tmp_path: Path
) -> None:
    """Its own weights stay; a translator and a further stage on text go on from both."""
    if quantization:
        pytest.importorskip("bitsandbytes", reason="the extra quantization is not installed")
    shape = {**MBART, "d_model": 64, "vocab_size": len(PROCESSOR.tokenizer)}
    config = MBartConfig(**{key: value for key, value in shape.items() if key != "model_type"})
    MBartForConditionalGeneration(config).save_pretrained(tmp_path / "plain")
    part = {"source": str(tmp_path / "plain"), "lora": LORA, "quantization": quantization}
    settings = denoising_stage(part)
    model = build_text_model(settings, {}, PROCESSOR).train()
    assert any(isinstance(one, QuantizedLinear) for one in model.modules()) is bool(quantization)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(settings, model)
    ids = torch.tensor([[7, 8, 9, 2]])
    for _ in range(2):
        optimizer.zero_grad()
        model(input_ids=ids, decoder_input_ids=ids).logits[..., 7].sum().backward()
        optimizer.step()
    after = model.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in after if is_lora(name)}
    model.save_pretrained(tmp_path / "tuned")
    earlier = {"tuned": tmp_path / "tuned"}

    again = build_text_model(denoising_stage({"source": "tuned"}), earlier, PROCESSOR)
    later = build_translator(stage(language_model={"source": "tuned"}), earlier, PROCESSOR)

    for inheriting in (again, later.language_model.model):
        assert_same_weights(inheriting, model)
        assert not any(
            weight.requires_grad and not is_lora(name)
            for name, weight in inheriting.named_parameters()
        )
    both = {part: {"source": "tuned"} for part in TEXT_PARTS}
    vlp = build_translator(vlp_stage(**both), earlier, PROCESSOR)
    assert isinstance(vlp, VisualLanguageModel)
    with torch.no_grad():
        expected = model.eval().get_encoder()(input_ids=ids).last_hidden_state
        found = vlp.eval().text_encoder(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match=r"second\.language_model\.source: .* with LoRA"):
        plan(stage(language_model={"source": str(tmp_path / "tuned")}), PROCESSOR)


def test_a_prompt_goes_past_a_stage_that_trains_on_text_alone(
    pretraining: Path, tmp_path: Path
) -> None:
    part = {"source": str(pretraining), "prompt": {"before": "<s>", "after": "</s>"}}
    prompted = build_translator(stage(language_model=part), {}, PROCESSOR)
    earlier = {name: tmp_path / name for name in ("first", "text")}
    prompted.save_pretrained(earlier["first"])
    alone = build_text_model(denoising_stage({"source": "first"}), earlier, PROCESSOR)
    alone.save_pretrained(earlier["text"])

    last = build_translator(stage(language_model={"source": "text"}), earlier, PROCESSOR)

    face = last.language_model
    assert (face.before, face.after) == (prompted.language_model.before, [2])
    assert "prompt" not in AutoConfig.from_pretrained(pretraining).to_dict()


def test_a_language_model_alone_that_cannot_be_built_is_one_line(pretraining: Path) -> None:
    where = "stages.second.language_model"
    for part, told in (
        (
            {"config": {**MBART, "encoder_attention_heads": 3}},
            rf"^{where}: cannot be built: .*heads",
        ),
        (
            {"source": "pretraining", "config": {"d_model": 8}},
            rf"^{where}\.config \(d_model\): weights do not fit",
        ),
        (
            {"source": str(pretraining), "config": {"widht": 8}},
            rf"^{where}\.config\.widht: no such",
        ),
        ({"config": MBART, "lora": {**LORA, "targets": ["query"]}}, rf"^{where}: .*query"),
    ):
        with pytest.raises(InputError, match=told) as caught:
            build_text_model(denoising_stage(part), {"pretraining": pretraining}, PROCESSOR)
        assert "\n" not in str(caught.value)


def test_every_stage_of_the_demo_can_be_built(tmp_path: Path) -> None:
    earlier: dict[str, Path] = {}
    for settings in load_recipe("demo").stages:
        model: Any
        if settings.objective == "denoising":
            model = build_text_model(settings, earlier, PROCESSOR)
        else:
            model = build_translator(settings, earlier, PROCESSOR)
            assert model.frozen_parts == settings.frozen
        earlier[settings.name] = tmp_path / settings.name
        model.save_pretrained(earlier[settings.name])

    assert AutoConfig.from_pretrained(earlier[settings.name]).model_type == "unglossed"


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"encoder": {"source": "frist"}}, ["encoder.source", "'frist'"]),
        (
            {"encoder": {"source": "frist", "config": {"backbone": BACKBONE}}},
            ["encoder.source", "'frist'"],
        ),
        ({"encoder": {}}, ["encoder.config.backbone", "missing"]),
        ({"encoder": {"config": {"backbone": "/nowhere/resnet"}}}, ["backbone", "/nowhere/resnet"]),
        (
            {"encoder": {"config": {"backbone": {"model_type": "resnett"}}}},
            ["encoder.config", "resnett"],
        ),
        ({"adapter": {"source": "frist"}}, ["adapter.source", "'frist'", "first"]),
        ({"language_model": {"source": "/nowhere/mbart"}}, ["language_model.source", "/nowhere"]),
        ({"language_model": {"config": {"light_t": "huge"}}}, ["language_model.config", "huge"]),
        ({"language_model": {"config": {"d_model": 8}}}, ["language_model.config", "model_type"]),
        (
            {"language_model": {"config": {"model_type": "mbartt"}}},
            ["language_model.config", "mbartt"],
        ),
        (
            {"encoder": {"source": "first", "config": {"temporal_dim": 7}}},
            ["encoder", "do not fit", "[7"],
        ),
        (
            {"language_model": {"source": "first", "config": {"d_model": 16}}},
            ["language_model", "do not fit"],
        ),
        ({"encoder": {"source": "pretraining"}}, ["encoder.source", "no encoder"]),
        (
            {"encoder": {"config": {"backbone": BACKBONE, "temporal_dims": 8}}},
            ["encoder.config.temporal_dims", "no such key"],
        ),
        (
            {"encoder": {"config": {"backbone": {**BACKBONE, "depth": [1]}}}},
            ["encoder.config.backbone.depth", "no such key"],
        ),
        (
            {"encoder": {"config": {"backbone": {"depths": [1]}}}},
            ["encoder.config.backbone", "model_type"],
        ),
        ({"adapter": {"config": {"hidden": 8}}}, ["adapter.config.hidden", "no such key"]),
        (
            {"language_model": {"config": {"light_t": SHAPE, "dropuot": 0.1}}},
            ["language_model.config.dropuot", "no such key"],
        ),
        (
            {"language_model": {"source": "first", "config": {"dropuot": 0.1}}},
            ["language_model.config.dropuot", "no such key"],
        ),
        (
            {"language_model": {"config": {"light_t": {**SHAPE, "heads": 5}}}},
            ["cannot be built", "num_heads"],
        ),
    ],
)
def test_what_cannot_be_built_is_named(
    changes: dict[str, Any], pieces: list[str], first: Path, pretraining: Path
) -> None:
    message = message_of(stage(**changes), {"first": first, "pretraining": pretraining})

    assert message.startswith("stages.second")
    assert all(piece in message for piece in pieces), message


@pytest.fixture(scope="module")
def recognition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder of an earlier stage that recognises glosses."""
    folder = tmp_path_factory.mktemp("recognition")
    torch.manual_seed(4)
    settings = gloss_stage(encoder={"config": {"backbone": BACKBONE, "temporal_dim": 24}})
    build_recogniser(settings, {}, ["NORD", "REGEN"]).save_pretrained(folder)
    return folder


def gloss_stage(**changes: Any) -> StageSettings:
    alone = {"adapter": None, "language_model": None, "objective": "gloss_ctc"}
    rates = {"encoder": 0.01, "ctc_head": 0.01}
    return stage(**{**alone, "learning_rates": rates, **changes})


def vlp_stage(**changes: Any) -> StageSettings:
    shape = {"model_type": "mbart", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    settings = {
        "objective": "vlp",
        "language_model": {"config": shape},
        "text_encoder": {"config": shape},
        "learning_rates": dict.fromkeys(VisualLanguageModel.parts, 0.01),
    }
    return stage(**{**settings, **changes})


def test_frame_wise_features_leave_the_temporal_module_behind(first: Path) -> None:
    source = Translator.from_pretrained(first)

    model = build_translator(
        stage(encoder={"source": "first"}, features="frame_wise"), {"first": first}, PROCESSOR
    )

    assert_same_weights(model.encoder.backbone, source.encoder.backbone)
    assert not any(name.startswith("temporal") for name in model.encoder.state_dict())
    assert model.adapter.hidden.in_features == 16  # the backbone's width, not the module's 24
    built = build_translator(stage(features="frame_wise"), {}, PROCESSOR)
    assert built.adapter.hidden.in_features == 16


def test_sign_wise_features_are_those_of_the_whole_encoder(first: Path) -> None:
    models = [
        build_translator(
            stage(encoder={"source": "first"}, features=features), {"first": first}, PROCESSOR
        )
        for features in ("sign_wise", None)
    ]

    assert_same_weights(models[0].encoder, models[1].encoder)
    assert models[0].config.encoder == models[1].config.encoder


def test_text_encoder_states_bring_encoder_adapter_and_text_encoder(first: Path) -> None:
    source = Translator.from_pretrained(first)
    settings = stage(
        encoder={"source": "first"}, features="text_encoder", frozen=["encoder"], feature_views=1
    )

    model = build_translator(settings, {"first": first}, PROCESSOR).train()

    assert_same_weights(model.encoder.encoder, source.encoder)
    assert_same_weights(model.encoder.adapter, source.adapter)
    text_encoder = source.language_model.model.get_encoder()
    assert_same_weights(model.encoder.text_encoder, text_encoder)
    assert model.adapter.hidden.in_features == 32
    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    assert not any(module.training for module in model.encoder.modules())


def test_a_stage_after_it_inherits_the_text_encoder_too(first: Path, tmp_path: Path) -> None:
    settings = stage(encoder={"source": "first"}, features="text_encoder")
    second = build_translator(settings, {"first": first}, PROCESSOR)
    second.save_pretrained(tmp_path)

    for features in (None, "text_encoder"):
        third = build_translator(
            stage(encoder={"source": "second"}, features=features), {"second": tmp_path}, PROCESSOR
        )
        assert_same_weights(third.encoder, second.encoder)


def test_a_module_of_a_part_can_be_frozen_alone(first: Path) -> None:
    rates = dict.fromkeys(PARTS, 0.01)
    settings = stage(encoder={"source": "first"}, frozen=["encoder.backbone"], learning_rates=rates)
    model = build_translator(settings, {"first": first}, PROCESSOR).train()
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}

    frames = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    output = model(frames=frames, lengths=torch.tensor([6]), labels=torch.tensor([[7, 8, 2]]))
    output.logits.sum().backward()
    torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1).step()

    after = model.encoder.state_dict()
    moved = {name.partition(".")[0] for name in after if not after[name].equal(before[name])}
    assert moved == {"temporal"}
    assert not any(module.training for module in model.encoder.backbone.modules())
    assert all(module.training for module in model.encoder.temporal.modules())


def test_a_translator_inherits_the_encoder_of_a_gloss_recogniser(recognition: Path) -> None:
    source = Recogniser.from_pretrained(recognition)

    model = build_translator(
        stage(encoder={"source": "glosses"}), {"glosses": recognition}, PROCESSOR
    )

    assert_same_weights(model.encoder, source.encoder)
    assert source.ctc_head.out_features == 3
    again = build_recogniser(
        gloss_stage(encoder={"source": "glosses"}, features="frame_wise"),
        {"glosses": recognition},
        ["A"],
    )
    assert_same_weights(again.encoder.backbone, source.encoder.backbone)
    assert (again.ctc_head.in_features, again.ctc_head.out_features) == (16, 2)


def test_a_text_encoder_is_the_encoder_of_its_source(pretraining: Path, tmp_path: Path) -> None:
    source = MBartForConditionalGeneration.from_pretrained(pretraining)
    for name, earlier in (("pretraining", {"pretraining": pretraining}), (str(pretraining), {})):
        settings = vlp_stage(text_encoder={"source": name})
        model = build_translator(settings, earlier, PROCESSOR)
        assert isinstance(model, VisualLanguageModel)
        assert_same_weights(model.text_encoder, source.get_encoder())

    model.save_pretrained(tmp_path)
    parts = {part: {"source": "vlp"} for part in PARTS}
    after = build_translator(stage(**parts), {"vlp": tmp_path}, PROCESSOR)
    assert not isinstance(after, VisualLanguageModel)
    for part in PARTS:
        assert_same_weights(getattr(after, part), getattr(model, part))


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"features": "text_encoder"}, ["second.features", "text_encoder", "sign_wise"]),
        (
            {"encoder": {"source": "glosses"}, "features": "text_encoder"},
            ["second.features", "glosses", "no text encoder"],
        ),
        (
            {"encoder": {"config": {"frontend": tiny.FRONTEND}}, "features": "frame_wise"},
            ["second.features", "frame_wise", "frontend"],
        ),
        (
            {"encoder": {"source": "frames"}, "features": "sign_wise"},
            ["second.features", "sign_wise", "frame_wise"],
        ),
        (
            {"frozen": ["encoder.backbones"], "learning_rates": dict.fromkeys(PARTS, 0.1)},
            ["second.frozen", "backbones"],
        ),
        ({"adapter": {"source": "glosses"}}, ["second.adapter.source", "no adapter"]),
    ],
)
def test_features_and_modules_that_are_not_there_are_named(
    changes: dict[str, Any], pieces: list[str], recognition: Path, tmp_path: Path
) -> None:
    frames = build_translator(stage(features="frame_wise"), {}, PROCESSOR)
    frames.save_pretrained(tmp_path)

    message = message_of(stage(**changes), {"glosses": recognition, "frames": tmp_path})

    assert message.startswith("stages.second")
    assert all(piece in message for piece in pieces), message


@pytest.mark.parametrize(
    ("changes", "pieces"),
    [
        ({"text_encoder": {"source": "/nowhere"}}, ["text_encoder.source", "/nowhere"]),
        (
            {"text_encoder": {"source": "pretraining", "config": {"d_model": 8}}},
            ["stages.second", "text_encoder: found width 8"],
        ),
        (
            {"text_encoder": {"source": "pretraining", "config": {"encoder_ffn_dim": 8}}},
            ["second.text_encoder", "do not fit"],
        ),
        (
            {"text_encoder": {"source": "pretraining", "config": {"layers": 1}}},
            ["text_encoder.config.layers", "no such key"],
        ),
    ],
)
def test_a_text_encoder_that_does_not_fit_is_named(
    changes: dict[str, Any], pieces: list[str], pretraining: Path
) -> None:
    message = message_of(vlp_stage(**changes), {"pretraining": pretraining})

    assert all(piece in message for piece in pieces), message


@pytest.mark.parametrize("objective", ["denoising", "vlp"])
def test_masking_needs_a_mask_token(objective: str) -> None:
    processor = tiny.tiny_processor()
    processor.tokenizer.mask_token = None
    alone = {"encoder": None, "adapter": None, "learning_rates": {"language_model": 0.1}}
    shape = {"language_model": {"config": {"model_type": "mbart"}}}
    settings = stage(objective=objective, **alone, **shape) if objective == "denoising" else None

    with pytest.raises(InputError, match=f"stages.second: the objective {objective} .* mask token"):
        plan(settings or vlp_stage(), processor)


def test_the_encoder_of_another_runs_gloss_recogniser_is_inherited(
    recognition: Path, tmp_path: Path
) -> None:
    settings = stage(encoder={"source": str(recognition)})
    plan(settings, PROCESSOR)
    model = build_translator(settings, {}, PROCESSOR)
    assert_same_weights(model.encoder, Recogniser.from_pretrained(recognition).encoder)

    with pytest.raises(InputError, match=r"second\.adapter\.source: .* has no adapter"):
        plan(stage(adapter={"source": str(recognition)}), PROCESSOR)

    build_translator(vlp_stage(), {}, PROCESSOR).save_pretrained(tmp_path)
    plan(stage(encoder={"source": str(tmp_path)}), PROCESSOR)


def test_a_backbone_that_reads_no_pictures_is_refused(pretraining: Path) -> None:
    config = MBartConfig.from_pretrained(pretraining).to_dict()
    for backbone in (str(pretraining), {"model_type": "mbart", "d_model": config["d_model"]}):
        settings = stage(encoder={"config": {"backbone": backbone}})
        told = message_of(settings, {})
        assert told.startswith("stages.second.encoder.config.backbone: found ")
        assert told.endswith("a model of the type 'mbart', expected an image model, such as resnet")
        with pytest.raises(InputError, match="expected an image model"):
            plan(settings, PROCESSOR)


def test_weights_that_do_not_fit_are_told_by_the_key_and_both_shapes(first: Path) -> None:
    settings = stage(encoder={"source": "first", "config": {"temporal_dim": 7}})
    assert message_of(settings, {"first": first}) == (
        "stages.second.encoder.config (temporal_dim): weights do not fit: temporal.conv.weight is"
        " [24, 16, 3] in the source, [7, 16, 3] in the recipe (and 5 more)"
    )


@pytest.mark.parametrize("size", ["huge", 3, {"layers": 1}])
def test_a_size_of_light_t_that_is_none(size: Any) -> None:
    told = message_of(stage(language_model={"config": {"light_t": size}}), {})
    assert told == (
        f"stages.second.language_model.config.light_t: found {size!r}, expected one of tiny, small,"
        " base, large, or a mapping with layers, heads, width, ffn_dim"
    )


def test_a_part_to_freeze_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"found 'backbone', expected a part \(encoder, adapter"):
        stage(frozen=["backbone"])


WIDE = {"d_model": 32}
"""What makes a language model of another width out of `pretraining`'s, which has 16."""


def widths_of(language_model: dict[str, Any], adapter: str = "first") -> None:
    """Check a second stage which takes the adapter from a first one that leads to width 32."""
    second = stage(adapter={"source": adapter}, language_model=language_model)
    plan_stages([stage(name="first"), second], PROCESSOR)


def test_an_adapter_leads_to_the_width_that_its_language_model_will_have(pretraining: Path) -> None:
    source = str(pretraining)
    widths_of({"source": source, "config": WIDE, "random_init": True})
    widths_of({"source": "first", "config": {"dropout": 0.2}})
    for language_model, width in (
        ({"source": source}, 16),
        ({"source": "first", "config": {"d_model": 48}, "random_init": True}, 48),
        ({"config": {"light_t": {**SHAPE, "width": 64}}}, 64),
    ):
        with pytest.raises(InputError, match=rf"first leads to width 32, .* has {width}: build"):
            widths_of(language_model)


@pytest.mark.parametrize(("run", "width", "other"), [(stage, 32, 16), (vlp_stage, 16, 32)])
def test_the_width_of_another_runs_adapter_is_that_of_its_language_model(
    run: Callable[[], StageSettings], width: int, other: int, pretraining: Path, tmp_path: Path
) -> None:
    build_translator(run(), {}, PROCESSOR).save_pretrained(tmp_path)
    parts = {
        16: {"source": str(pretraining)},
        32: {"source": str(pretraining), "config": WIDE, "random_init": True},
    }

    widths_of(parts[width], adapter=str(tmp_path))
    with pytest.raises(InputError, match=rf"leads to width {width}, .* has {other}: build"):
        widths_of(parts[other], adapter=str(tmp_path))


def test_a_change_that_no_language_model_knows_is_refused_before_the_first_stage(
    pretraining: Path,
) -> None:
    with pytest.raises(InputError, match=r"second\.language_model\.config\.widht: no such key"):
        widths_of({"source": str(pretraining), "config": {"widht": 32}, "random_init": True})


@pytest.mark.parametrize("part", TEXT_PARTS)
def test_what_is_no_language_model_is_refused_before_the_first_stage(
    part: str, first: Path, recognition: Path, tmp_path: Path
) -> None:
    """A translator or recogniser of another run, or an image model."""
    (tmp_path / "vlp").mkdir()
    build_translator(vlp_stage(), {}, PROCESSOR).config.save_pretrained(tmp_path / "vlp")
    ResNetConfig().save_pretrained(tmp_path / "resnet")
    for folder, kind in (
        (first, "unglossed"),
        (tmp_path / "vlp", "unglossed_vlp"),
        (recognition, AutoConfig.from_pretrained(recognition).model_type),
        (tmp_path / "resnet", "resnet"),
    ):
        with pytest.raises(InputError) as caught:
            plan(vlp_stage(**{part: {"source": str(folder)}}), PROCESSOR)
        assert str(caught.value) == (
            f"stages.second.{part}.source: found {folder}, a model of the type {kind!r}, expected a"
            " language model, such as mbart or llama"
        )


def test_language_models_of_all_kinds_pass(pretraining: Path, tmp_path: Path) -> None:
    """Their weights are not loaded; a GGUF file has another test."""
    light_t_config("tiny", len(PROCESSOR.tokenizer)).save_pretrained(tmp_path / "light_t")
    for model_type in ("llama", "qwen3", "gemma3_text", "mt5", "t5", "bart"):
        AutoConfig.for_model(model_type).save_pretrained(tmp_path / model_type)
    for folder in tmp_path.iterdir():
        save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    for folder in (pretraining, *sorted(tmp_path.iterdir())):
        part = plan_language_model(LanguageModelSettings(source=str(folder)), {}, PROCESSOR)
        assert part.transformers_config.model_type == AutoConfig.from_pretrained(folder).model_type
    assert len(list(tmp_path.iterdir())) == 7


def test_one_that_writes_no_text_after_features_is_refused_before_the_first_stage(
    tmp_path: Path,
) -> None:
    """transformers' multimodal Gemma 3 generates after tokens alone."""
    AutoConfig.for_model("gemma3").save_pretrained(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError) as caught:
        plan_language_model(LanguageModelSettings(source=str(tmp_path)), {}, PROCESSOR)
    assert str(caught.value) == (
        f"source: found {tmp_path}, a model of the type 'gemma3', which writes no text after"
        " features, expected one of text alone, such as gemma3_text"
    )


def test_weights_that_are_not_there_or_cut_are_told_before_the_first_stage(
    pretraining: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(pretraining, folder)
    settings = stage(language_model={"source": str(folder)})
    path = folder / "model.safetensors"
    where = r"^stages\.second\.language_model\.source: "
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=rf"{where}{path}: cannot be read: .*incomplete"):
        plan(settings, PROCESSOR)
    path.unlink()
    with pytest.raises(InputError, match=rf"{where}{folder} has no weights, expected model"):
        plan(settings, PROCESSOR)


def test_masked_text_is_restored_by_encoder_decoders_alone(tmp_path: Path) -> None:
    """Whether the other model is built, loaded or that of a stage before."""
    llama = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2}
    LlamaConfig(hidden_size=16, num_attention_heads=2).save_pretrained(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    translation = stage(name="first", language_model={"config": llama})
    for part in ({"config": llama}, {"source": str(tmp_path)}, {"source": "first"}):
        for settings, name in (
            (denoising_stage(part), "language_model"),
            (vlp_stage(language_model=part), "language_model"),
            (vlp_stage(text_encoder=part), "text_encoder"),
        ):
            with pytest.raises(InputError) as caught:
                plan_stages([translation, settings], PROCESSOR)
            assert str(caught.value) == (
                f"stages.second.{name}: found a decoder-only model of the type 'llama', expected an"
                f" encoder-decoder, such as mbart, for the objective {settings.objective}"
            )
    for settings in (denoising_stage({"config": MBART}), vlp_stage()):
        plan_stages([translation, settings], PROCESSOR)


def test_masked_text_is_not_read_by_light_t() -> None:
    """Its encoder has no word embedding; as the writer of vlp it reads features alone."""
    translation = stage(name="first")
    for part in ({"config": {"light_t": SHAPE}}, {"source": "first"}):
        for settings in (denoising_stage(part), vlp_stage(text_encoder=part)):
            with pytest.raises(InputError, match="found a Light-T, whose encoder reads features"):
                plan_stages([translation, settings], PROCESSOR)
        plan_stages([translation, vlp_stage(language_model=part)], PROCESSOR)


def test_keys_that_nobody_reads_are_refused() -> None:
    known = AutoConfig.for_model("llama").to_dict()
    refuse_unknown({"attention_dropout": 0.1, "_attn_implementation": "eager"}, known)
    refuse_unknown({"hidden_dim": 3}, {"hidden_dim": 512})
    for settings, knows in (({"dropuot": 0.1}, known), ({"hidden": 3}, {"hidden_dim": 512})):
        with pytest.raises(InputError, match=r"^\w+: no such key(, did you|$)"):
            refuse_unknown(settings, knows)
