"""Speech frontends of a stage: loaded from whole speech models, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    BertConfig,
    BertModel,
    HubertForCTC,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMForCTC,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

import tiny
from planned import build_translator, plan
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.speech import SpeechEncoder
from unglossed.models.translator import Translator
from unglossed.training.data import ClipDataset, Collator
from unglossed.training.encoding import encode_clips
from unglossed.training.extract import extract_features
from unglossed.training.features import FeatureCache
from unglossed.training.keys import feature_settings
from unglossed.training.settings import StageSettings
from unglossed.training.train import train_recipe

TOKENIZER = tiny.tiny_processor().tokenizer
RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False}
KINDS: dict[str, tuple[type[PreTrainedModel], dict[str, Any], bool]] = {
    "wav2vec2": (Wav2Vec2ForCTC, tiny.FRONTEND, True),
    "wav2vec2 base": (Wav2Vec2ForCTC, tiny.FRONTEND | GROUP, False),
    "hubert": (HubertForCTC, tiny.FRONTEND | {"model_type": "hubert"}, True),
    "wavlm": (WavLMForCTC, tiny.FRONTEND | {"model_type": "wavlm"} | GROUP, False),
    "whisper": (WhisperForConditionalGeneration, tiny.WHISPER, False),
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))
NO_CLIPS = ClipDataset([], TranslatorProcessor(TOKENIZER, audio_rate=16000), limit=1)


def write_model(folder: Path, kind: str, **changes: Any) -> PreTrainedModel:
    """A whole speech model as hubs have them: with its head or decoder, and what prepares sound."""
    model_class, settings, normalises = KINDS[kind]
    settings = settings | {"mask_time_prob": 0.05, **changes}
    torch.manual_seed(4)
    model = model_class(AutoConfig.for_model(**settings))
    model.save_pretrained(folder)
    if kind == "whisper":
        WhisperFeatureExtractor().save_pretrained(folder)
    else:
        Wav2Vec2FeatureExtractor(do_normalize=normalises).save_pretrained(folder)
    return model


def processor(**changes: Any) -> TranslatorProcessor:
    settings = {"audio_rate": 16000, "max_seconds": 4.0, **changes}
    return TranslatorProcessor(TOKENIZER, language="de", start_token="<de>", **settings)


def stage(encoder: dict[str, Any], **changes: Any) -> StageSettings:
    frozen = changes.get("frozen", ())
    parts = [part for part in ("encoder", "adapter", "language_model") if part not in frozen]
    settings: dict[str, Any] = {
        "name": "speech",
        "encoder": encoder,
        "adapter": {"config": {"hidden_dim": 32}},
        "language_model": {
            "config": {"light_t": {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}}
        },
        "learning_rates": dict.fromkeys(parts, 0.01),
        "epochs": 1,
        "batch_size": 2,
    }
    return StageSettings.model_validate(settings | changes)


def refused(step: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        step()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_before_training(encoder: dict[str, Any], **changes: Any) -> str:
    return refused(lambda: plan(stage(encoder), processor(**changes)))


def encoder_of(whole: Any) -> torch.nn.Module:
    base = getattr(whole, whole.base_model_prefix)
    return base.encoder if whole.config.model_type == "whisper" else base


@every_kind
@pytest.mark.parametrize("part", ["whole", "without its head or decoder"])
def test_a_frontend_is_loaded_from_a_speech_model(
    kind: str, part: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole: Any = write_model(tmp_path, kind)
    if part != "whole":
        getattr(whole, whole.base_model_prefix).save_pretrained(tmp_path)
    capfd.readouterr()
    settings = stage({"source": str(tmp_path)}, frozen=["encoder"])
    plan(settings, processor())

    model = build_translator(settings, {}, processor())

    assert isinstance(model.encoder, SpeechEncoder)
    expected = encoder_of(whole).state_dict()
    expected.pop("masked_spec_embed", None)
    found = model.encoder.state_dict()
    assert found.keys() == {f"frontend.{name}" for name in expected}
    assert all(torch.equal(found[f"frontend.{name}"], expected[name]) for name in expected)
    assert model.encoder.normalises is KINDS[kind][2]
    assert model.config.encoder["sample_rate"] == 16000
    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    assert "UNEXPECTED" not in capfd.readouterr().err

    model.save_pretrained(tmp_path / "trained")
    later = stage({"source": "first"})
    inherited = build_translator(later, {"first": tmp_path / "trained"}, processor())
    first, second = (
        feature_settings(one.encoder, one.config.encoder, NO_CLIPS, bfloat16=False)
        for one in (model, inherited)
    )
    assert first == second
    assert str(tmp_path) not in (tmp_path / "trained" / "config.json").read_text(encoding="utf-8")
    clip, length = torch.randn(3000) + 0.5, torch.tensor([3000])
    with torch.no_grad():
        assert torch.equal(
            model.eval().encoder(clip, length)[0], inherited.eval().encoder(clip, length)[0]
        )


def test_the_scale_of_the_sound_can_be_told(tmp_path: Path) -> None:
    write_model(tmp_path, "wav2vec2")
    settings = stage({"source": str(tmp_path), "config": {"normalise": False}})
    plan(settings, processor())
    assert build_translator(settings, {}, processor()).encoder.normalises is False
    message = refused_before_training({"source": str(tmp_path), "config": {"frontend": {}}})
    assert message == "stages.speech.encoder.config.frontend: no such key"


@every_kind
def test_missing_and_misshapen_weights_are_refused(kind: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    weights = load_file(tmp_path / "model.safetensors")
    (lost,) = (
        name for name in weights if name.endswith(".encoder.layers.1.final_layer_norm.weight")
    )
    value = weights.pop(lost)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})

    def build() -> Translator:
        return build_translator(stage({"source": str(tmp_path)}), {}, processor())

    where = f"stages.speech.encoder.source: {tmp_path}"
    assert refused(build).startswith(f"{where} lacks weights: 1, as ")
    save_file(
        weights | {lost: value[..., :3].clone()}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    assert refused(build).startswith(f"{where} has misshapen weights: 1, as ")
    (tmp_path / "model.safetensors").unlink()
    assert refused(build).startswith(f"{where} cannot be loaded: ")


def test_what_is_no_speech_model_is_refused(tmp_path: Path) -> None:
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    where = "stages.speech.encoder.source:"
    assert refused_before_training({"source": str(tmp_path / "bert")}) == (
        f"{where} {tmp_path / 'bert'}: found a model of the type 'bert', expected one that"
        " `unglossed train` made, or a speech model"
    )
    assert refused_before_training({"source": str(tmp_path)}).startswith(
        f"{where} {tmp_path}: found neither model/config.json nor config.json"
    )
    assert "no such folder" in refused_before_training({"source": str(tmp_path / "nowhere")})
    named = {"config": {"frontend": "facebook/wav2vec2-base"}}
    assert refused_before_training(named) == (
        "stages.speech.encoder.config.frontend: found 'facebook/wav2vec2-base', expected a"
        " configuration; a pre-trained one is stages.speech.encoder.source=facebook/wav2vec2-base"
    )
    unknown = {"config": {"frontend": {"model_type": "bert"}}}
    assert "not a speech model: found the type 'bert'" in refused_before_training(unknown)


def test_a_model_that_does_not_say_what_it_reads_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "hubert")
    (tmp_path / "preprocessor_config.json").unlink()
    message = refused_before_training({"source": str(tmp_path)})
    assert f"{tmp_path}: found no preprocessor_config.json that can be read" in message


def test_an_adapter_within_the_frontend_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "wav2vec2", add_adapter=True)
    assert "found add_adapter" in refused_before_training({"source": str(tmp_path)})


@every_kind
def test_another_sample_rate_is_refused(kind: str, tmp_path: Path) -> None:
    write_model(tmp_path, kind)
    assert refused_before_training({"source": str(tmp_path)}, audio_rate=8000) == (
        "audio.audio_rate: found 8000, expected 16000, at which the model of"
        " stages.speech.encoder reads audio"
    )


def test_a_whisper_that_is_built_reads_16_khz_and_another_frontend_any() -> None:
    whisper = {"config": {"frontend": tiny.WHISPER}}
    assert "found 8000, expected 16000" in refused_before_training(whisper, audio_rate=8000)
    wave2vec = stage({"config": {"frontend": tiny.FRONTEND}})
    plan(wave2vec, processor(audio_rate=8000, max_seconds=600))


def test_clips_that_whisper_has_no_room_for_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, "whisper")
    for encoder in ({"source": str(tmp_path)}, {"config": {"frontend": tiny.WHISPER}}):
        assert refused_before_training(encoder, max_seconds=4.1) == (
            "audio.max_seconds: found 4.1, expected at most 4.0, for which the model of"
            " stages.speech.encoder has room"
        )


def test_sound_is_for_speech_models_and_pictures_for_the_others(tmp_path: Path) -> None:
    tiny.tiny_translator(tmp_path / "signs")
    speech = {"config": {"frontend": tiny.FRONTEND}}
    assert refused_before_training(speech, audio_rate=None) == (
        "stages.speech.encoder: found an encoder of audio, expected one of video: the recipe has"
        " no `audio`"
    )
    for signs in (
        {"config": {"backbone": tiny.ENCODER["backbone"]}},
        {"source": str(tmp_path / "signs")},
    ):
        assert "found an encoder of video, expected one of audio" in refused_before_training(signs)


def write_corpus(folder: Path, **more: np.ndarray) -> str:
    """A table of spoken clips: silence, 50 ms, noise, a long one, and a few to make it up."""
    noise = np.random.default_rng(0).normal(0, 0.2, 64000)
    clips = {
        "noise": noise[:20000],
        "silence": np.zeros(16000),
        "short": noise[:800],
        "long": noise,
        "other": noise[9000:21111],
        **more,
    }
    rows = []
    for number, (name, samples) in enumerate(clips.items()):
        tiny.write_sound(folder / f"{name}.wav", samples)
        split = "dev" if name == "other" else "train"
        row = {"id": name, "media": f"{name}.wav", "text": tiny.SENTENCES[number % 3]}
        rows.append(row | {"split": split, "language": "de"})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"table:{path}"


def test_odd_sound_is_read_as_it_is_and_long_sound_is_cut(tmp_path: Path) -> None:
    samples = read_corpus(write_corpus(tmp_path)).split("train")
    clips = ClipDataset(samples, processor(), limit=18000)
    items = [clips[0, index] for index in range(len(clips))]
    assert [len(item["frames"]) for item in items] == [18000, 16000, 800, 18000]
    assert not items[1]["frames"].any()
    for frontend in (tiny.FRONTEND, tiny.WHISPER):
        model = tiny.tiny_speech_model(processor(), frontend)
        output = model(**Collator(processor())(items))
        assert output.logits is not None
        assert output.logits.isfinite().all()


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2 base"])
def test_features_are_stored_and_are_those_of_the_step_itself(kind: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path)
    write_model(tmp_path / "frontend", kind)
    settings = stage({"source": str(tmp_path / "frontend")}, frozen=["encoder"])
    model = build_translator(settings, {}, processor()).eval()
    clips = ClipDataset(read_corpus(corpus).split("train"), processor(), limit=60000)
    cache = FeatureCache(tmp_path / "features")

    (stored,) = cache.features(model.encoder, model.config.encoder, clips, bfloat16=False)

    batch = Collator(processor())([clips[0, index] for index in range(len(clips))])
    features, mask = model.encode(batch["frames"], batch["lengths"])
    assert mask.sum(1).tolist() == [len(row) for row in stored]
    for row, real, kept in zip(features, mask, stored, strict=True):
        assert torch.equal(row[real], kept)

    again = build_translator(settings, {}, processor())
    calls: list[int] = []
    again.encoder.register_forward_hook(lambda *_: calls.append(1))
    (read,) = cache.features(again.encoder, again.config.encoder, clips, 1, bfloat16=False)
    assert not calls
    assert all(torch.equal(one, other) for one, other in zip(read, stored, strict=True))
    fresh = encode_clips(again.encoder, clips, [(0, 0)], bfloat16=False)
    assert torch.equal(next(fresh), stored[0])


def speech_overrides(frontend: Path) -> list[str]:
    """Changes that make the tiny recipe one of speech."""
    return [
        "stages.0.skip=true",
        "audio={audio_rate: 16000, max_seconds: 3}",
        f"stages.1.encoder={{source: {frontend}}}",
        "stages.1.frozen=[encoder]",
        "stages.1.learning_rates={adapter: 0.01, language_model: 0.01}",
        "stages.1.feature_views=1",
        "stages.2.skip=true",
    ]


def test_a_recipe_trains_on_a_pretrained_frontend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_corpus(tmp_path)
    whole = write_model(tmp_path / "frontend", "whisper")
    changes = speech_overrides(tmp_path / "frontend")
    extract_features(RECIPE, corpus, tmp_path / "features", overrides=changes)
    stored = {path.name for path in tmp_path.glob("features/*/*.safetensors")}
    assert stored

    train_recipe(
        RECIPE, corpus, tmp_path / "run", overrides=changes, features=tmp_path / "features"
    )

    assert {path.name for path in tmp_path.glob("features/*/*.safetensors")} == stored
    said = capsys.readouterr().err
    assert "note: clip longer than the limit, cut there: 1" in said
    assert "'long': 4.00 s long, expected at most 3.00 s" in said
    model = Translator.from_pretrained(tmp_path / "run" / "model")
    mine, theirs = model.encoder.frontend.state_dict(), encoder_of(whole).state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    saved = TranslatorProcessor.from_pretrained(tmp_path / "run" / "model")
    assert saved.max_seconds == 3


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (tiny.WHISPER, {"encoder_attention_heads": 3}),
        (tiny.FRONTEND, {"num_attention_heads": 3}),
        (tiny.FRONTEND, {"num_conv_pos_embedding_groups": 3}),
        (tiny.FRONTEND, {"conv_stride": [5, 8]}),
        (tiny.FRONTEND, {"hidden_act": "foo"}),
        (tiny.FRONTEND, {"feat_extract_norm": "foo"}),
    ],
)
def test_what_no_frontend_can_be_built_of_is_refused_before_training(
    base: dict[str, Any], change: dict[str, Any]
) -> None:
    message = refused_before_training({"config": {"frontend": base | change}})
    assert message.startswith("stages.speech.encoder.config.frontend: not a speech model: ")


def test_normalise_is_true_or_false() -> None:
    message = refused_before_training({"config": {"frontend": tiny.FRONTEND, "normalise": "maybe"}})
    assert message == (
        "stages.speech.encoder.config.normalise: found 'maybe', expected true or false"
    )
