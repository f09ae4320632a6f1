"""A saved model's files are bound together: none is missing, changed or another model's."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MBartConfig

import tiny
import unglossed
from planned import language_model_part
from unglossed import hub
from unglossed.config import DecodingSettings, write_settings
from unglossed.errors import InputError
from unglossed.files import (
    CHECKSUMS,
    bind_folder,
    file_checksum,
    read_checksums,
    verify_folder,
    without_origin,
)
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import load_processor
from unglossed.training.settings import LanguageModelSettings
from unglossed.training.sources import load_trained

FILES = (
    "config.json",
    "decoding.yaml",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def save(folder: Path) -> Path:
    """A translator, saved as training saves one."""
    tiny.tiny_translator(folder)
    write_settings(DecodingSettings(beams=2, max_new_tokens=6), folder / "decoding.yaml")
    bind_folder(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "model")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return tiny.write_frames(tmp_path / "clip", 6)


def refusal(folder: Path) -> str:
    messages = set()
    for load in (unglossed.load, lambda source: load_trained(str(source))):
        with pytest.raises(InputError) as caught:
            load(folder)
        messages.add(str(caught.value))
    (message,) = messages
    assert "\n" not in message
    return message


def test_every_file_is_listed_and_the_model_is_loaded(model: Path, clip: Path) -> None:
    assert sorted(read_checksums(model) or ()) == list(FILES)
    assert unglossed.load(model).decoding.beams == 2
    shutil.copytree(model, model.parent / "moved")
    (model / CHECKSUMS).unlink()
    assert unglossed.translate(model, clip) == unglossed.translate(model.parent / "moved", clip)


@pytest.mark.parametrize("file", FILES[1:])
def test_a_missing_file_is_named(file: str, model: Path) -> None:
    (model / file).unlink()
    assert refusal(model).startswith(f"{model / file}: missing")


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_named(file: str, model: Path) -> None:
    content = bytearray((model / file).read_bytes())
    content[len(content) // 2] ^= 1
    (model / file).write_bytes(content)
    assert refusal(model).startswith(f"{model / file}: differs from what was saved")


@pytest.mark.parametrize("file", ["tokenizer.json", "processor_config.json"])
def test_another_models_file_is_named(file: str, model: Path, tmp_path: Path) -> None:
    processor = tiny.tiny_processor()
    processor.tokenizer.add_tokens(["more"])
    processor.crop = 24
    processor.save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / file, model / file)
    assert refusal(model).startswith(f"{model / file}: differs from what was saved")


@pytest.mark.parametrize(
    "file",
    [
        "adapter_config.json",
        "adapter_model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "generation_config.json",
        "added_tokens.json",
        "special_tokens_map.json",
        "sentencepiece.bpe.model",
        "vocab.txt",
        "merges.txt",
        "chat_template.jinja",
        "modeling_own.py",
    ],
)
def test_a_file_put_beside_that_loaders_would_read_is_named(file: str, model: Path) -> None:
    (model / file).write_text("{}", encoding="utf-8")
    assert refusal(model).startswith(f"{model / file}: was not saved with the model")


@pytest.mark.parametrize(
    "file", ["README.md", "metrics.json", "predictions.jsonl", ".gitattributes"]
)
def test_other_files_may_lie_beside(file: str, model: Path) -> None:
    before = unglossed.load(model).model.state_dict()
    (model / file).write_text("{}", encoding="utf-8")
    after = unglossed.load(model).model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_checksums_nested_without_end_are_damaged(model: Path) -> None:
    (model / CHECKSUMS).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match=f"{model / CHECKSUMS}: cannot be read"):
        unglossed.load(model)


def test_a_file_that_was_changed_on_purpose_can_be_listed_anew(model: Path) -> None:
    path = model / "decoding.yaml"
    tiny.edit(path, "beams: 2", "beams: 3")
    new = file_checksum(path)
    assert f"write {new} for it" in refusal(model)
    tiny.edit(model / CHECKSUMS, (read_checksums(model) or {})["decoding.yaml"], new)
    assert unglossed.load(model).decoding.beams == 3


def test_a_change_after_the_first_look_is_seen(model: Path) -> None:
    verify_folder(model)
    path = model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    os.utime(path, (time.time() + 5, time.time() + 5))
    with pytest.raises(InputError, match="differs"):
        verify_folder(model)


def test_without_checksums_the_processor_has_to_be_there_all_the_same(model: Path) -> None:
    (model / CHECKSUMS).unlink()
    (model / "processor_config.json").unlink()
    with pytest.raises(InputError, match=r"processor_config.json: missing"):
        unglossed.load(model)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("crop", 10**8, "found 100000000, expected pixels"),
        ("crop", True, "found True"),
        ("crop", 37, "found 37, expected at most 36"),
        ("frame_share", 0, "found 0, expected a share"),
        ("frame_share", float("nan"), "found nan"),
        ("language", None, "found None"),
        ("start_token", "<xx>", "which the tokenizer beside it does not have"),
        ("max_tokens", "many", "found 'many'"),
        ("audio_rate", -1, "found -1"),
        ("croop", 32, "no such key, did you mean crop"),
    ],
)
def test_a_wrong_setting_of_a_processor_is_one_line(
    key: str, value: object, told: str, model: Path
) -> None:
    (model / CHECKSUMS).unlink()
    path = model / "processor_config.json"
    fields = json.loads(path.read_text(encoding="utf-8")) | {key: value}
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_processor(model)
    message = str(caught.value)
    assert message.startswith(f"{path}: {key}: ")
    assert told in message


@pytest.mark.parametrize("audio_rate", [None, 16000])
def test_a_processor_of_an_earlier_version_loads(
    audio_rate: int | None, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / CHECKSUMS).unlink()
    path = model / "processor_config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    earlier = {"sampling_rate": fields.pop("frame_share"), "sample_rate": audio_rate}
    del fields["audio_rate"]
    path.write_text(json.dumps(fields | earlier), encoding="utf-8")

    for processor in (load_processor(model), TranslatorProcessor.from_pretrained(model)):
        assert (processor.frame_share, processor.audio_rate) == (0.5, audio_rate)
    assert capsys.readouterr().err == ""


def test_a_setting_has_one_name(model: Path) -> None:
    (model / CHECKSUMS).unlink()
    path = model / "processor_config.json"
    fields = json.loads(path.read_text(encoding="utf-8")) | {"sampling_rate": 0.25}
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(InputError, match=r"processor_config.json: sampling_rate: no such key"):
        load_processor(model)


def test_a_setting_that_is_left_out_is_named(model: Path) -> None:
    (model / CHECKSUMS).unlink()
    tiny.edit(model / "processor_config.json", '"resize": 36,', "")
    with pytest.raises(InputError, match=r"processor_config.json: resize: is missing"):
        load_processor(model)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(model: Path) -> None:
    (model / CHECKSUMS).unlink()
    processor = tiny.tiny_processor()
    processor.tokenizer.add_tokens(["more", "and more"])
    processor.save_pretrained(model)
    with pytest.raises(InputError, match=r"tokenizer.json: found 73 tokens, expected at most 71"):
        unglossed.load(model)


def test_what_is_saved_has_no_path_of_the_machine_that_trained(tmp_path: Path) -> None:
    processor = tiny.tiny_processor()
    source = tmp_path / "published"
    config = MBartConfig(
        vocab_size=len(processor.tokenizer), d_model=16, encoder_layers=1, decoder_layers=1
    )
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(source)
    processor.tokenizer.save_pretrained(source)
    part = LanguageModelSettings(source=str(source))
    told = language_model_part(part, {}, processor).config
    assert str(tmp_path) not in json.dumps(told)

    folder = tmp_path / "saved"
    loaded = hub.load(AutoModelForSeq2SeqLM, source, "model")
    model = tiny.tiny_model(processor)
    model.config.language_model = loaded.config.to_dict() | {"_name_or_path": str(source)}
    model.save_pretrained(folder)
    hub.load(AutoTokenizer, source, "tokenizer").save_pretrained(folder)
    bind_folder(folder)
    for path in folder.glob("*.json"):
        assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    assert "_name_or_path" not in (folder / "config.json").read_text(encoding="utf-8")


def test_only_the_origin_is_taken_out_of_a_configuration() -> None:
    fields = {
        "a": [{"_name_or_path": "/home", "b": 1}],
        "auto_map": {},
        "c": {"auto_map": 1, "d": 2},
    }
    assert without_origin(fields) == {"a": [{"b": 1}], "c": {"d": 2}}
