"""The plan of a recipe's stages: all mistakes at once, encoders of other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tiny
from planned import build_recogniser, plan
from unglossed.errors import InputError
from unglossed.models.visual import VisualEncoder
from unglossed.training.plan import plan_stages
from unglossed.training.settings import StageSettings

PROCESSOR = tiny.tiny_processor()
SHAPE = {"light_t": {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}}


def stage(name: str, **changes: Any) -> StageSettings:
    settings: dict[str, Any] = {
        "name": name,
        "encoder": {"config": {"backbone": tiny.ENCODER["backbone"]}},
        "adapter": {},
        "language_model": {"config": SHAPE},
        "learning_rates": dict.fromkeys(("encoder", "adapter", "language_model"), 0.1),
        "epochs": 1,
        "batch_size": 1,
    }
    return StageSettings.model_validate(settings | changes)


def test_mistakes_of_a_stage_behind_one_that_is_wrong_are_told_with_its_own() -> None:
    wrong = {"config": {"nose": 1}}
    second = stage("second", encoder={"source": "first"}, adapter=wrong)
    with pytest.raises(InputError) as caught:
        plan_stages(
            [stage("first", language_model={"config": {**SHAPE, "ear": 1}}), second], PROCESSOR
        )
    message = str(caught.value)
    assert message.startswith("2 mistakes: ")
    assert "stages.first.language_model.config.ear: no such key" in message
    assert "stages.second.adapter.config.nose: no such key" in message


def test_modules_of_an_inherited_part_that_are_not_there_are_told_before_training() -> None:
    rates = dict.fromkeys(("encoder", "adapter", "language_model"), 0.1)
    second = stage(
        "second",
        encoder={"source": "first"},
        features="frame_wise",
        frozen=["encoder.nose"],
        learning_rates=rates,
    )
    with pytest.raises(InputError, match=r"^stages\.second\.frozen: found 'encoder\.nose': "):
        plan_stages([stage("first"), second], PROCESSOR)


class OwnEncoder(VisualEncoder):
    """An encoder of another package, which wraps its configuration in keys of its own."""

    defaults = {"wide": 4}

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__({**tiny.ENCODER, "temporal_dim": config["wide"]})


def test_an_encoder_of_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    entry = f"[unglossed.encoders]\nown = {__name__}:OwnEncoder\n"
    (folder / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(tmp_path)
    settings = stage(
        "first",
        objective="gloss_ctc",
        encoder={"config": {"kind": "own", "wide": 12}},
        adapter=None,
        language_model=None,
        learning_rates={"encoder": 0.1, "ctc_head": 0.1},
    )

    model = build_recogniser(settings, {}, ["A"])

    assert isinstance(model.encoder, OwnEncoder)
    assert model.encoder.output_dim == 12
    assert model.config.encoder == {"kind": "own", "wide": 12}
    speech = tiny.tiny_processor()
    speech.audio_rate = 16000
    with pytest.raises(InputError, match="found an encoder of video, expected one of audio"):
        plan(settings, speech)


def test_features_are_hidden_from_decoder_only_models_alone() -> None:
    hiding = {"masked_features": {"share": 0.5}}
    with pytest.raises(InputError) as caught:
        plan_stages([stage("first", **hiding)], PROCESSOR)
    assert str(caught.value) == (
        "stages.first.masked_features: found a language model of the type 'light_t', expected a"
        " decoder-only one, such as llama, or no masked_features"
    )

    llama = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
    writer = {"config": llama | heads}
    assert plan_stages([stage("first", **hiding, language_model=writer)], PROCESSOR)
    with pytest.raises(ValueError, match="masked_features means nothing to the objective gloss"):
        stage(
            "first",
            **hiding,
            objective="gloss_ctc",
            adapter=None,
            language_model=None,
            learning_rates={"encoder": 0.1, "ctc_head": 0.1},
        )
