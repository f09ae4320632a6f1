"""Loading from folders and GGUF files; what is wrong with one is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from transformers.utils import logging

import llama_gguf
import tiny
from unglossed.config import field
from unglossed.errors import InputError
from unglossed.training.sources import (
    load,
    load_language_model,
    load_trained,
    unpack_gguf,
)

IDS = torch.tensor([[1, 20, 30, 40, 50, 2], [1, 21, 31, 2, 2, 2]])
WHERE = "stages.second.language_model.source"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A Llama's GGUF file."""
    path = tmp_path / "llama.gguf"
    llama_gguf.write_llama(path)
    return path


def message_of(source: str | Path) -> str:
    with pytest.raises(InputError) as caught, field(WHERE):
        load_language_model(str(source))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{WHERE}: {source}")
    return message


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_a_llama_from_a_gguf_file_gives_the_logits_of_its_source(
    tied: bool, tmp_path: Path
) -> None:
    """Bit for bit: float32 is stored as it is."""
    source = llama_gguf.write_llama(tmp_path / "llama.gguf", tied=tied)

    model = load_language_model(str(tmp_path / "llama.gguf")).eval()

    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)
    assert torch.equal(model(IDS).logits, source(IDS).logits)
    assert model.config.tie_word_embeddings is tied
    head, words = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is words) is tied


def test_the_tokenizer_of_a_gguf_file_is_that_of_its_source(path: Path) -> None:
    tokenizer = load(AutoTokenizer, str(path))
    source = llama_gguf.tiny_tokenizer()

    for text in (*llama_gguf.SENTENCES, "<|im_start|>Grüße<|im_end|>\n"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == source.encode(text).ids
        assert tokenizer.decode(ids) == text
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")


@torch.no_grad()
def test_a_gguf_file_of_the_same_name_in_the_working_directory_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    source = llama_gguf.write_llama(tmp_path / "models" / "llama.gguf")
    (tmp_path / "llama.gguf").write_bytes(b"GGUF and no more")
    monkeypatch.chdir(tmp_path)

    for path in (Path("models/llama.gguf"), tmp_path / "models" / "llama.gguf"):
        model = load_language_model(str(path)).eval()
        assert torch.equal(model(IDS).logits, source(IDS).logits)
        assert load(AutoTokenizer, str(path)).eos_token_id == 2


def test_an_unpacked_gguf_file_is_a_model_folder(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "unpacked"
    unpack_gguf(path, folder)
    assert "GGUF" not in "".join(capfd.readouterr())  # no progress bar of the library

    model, source = (load_language_model(str(one)).eval() for one in (folder, path))

    assert torch.equal(model(IDS).logits, source(IDS).logits)
    text = llama_gguf.SENTENCES[0]
    assert load(AutoTokenizer, str(folder))(text) == load(AutoTokenizer, str(path))(text)


def test_a_gguf_file_that_cannot_be_unpacked_leaves_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "llama.gguf"
    llama_gguf.write_llama(path, without=["blk.0.attn_q.weight"])
    with pytest.raises(InputError, match=r"lacks weights: 1, as model\.layers\.0"):
        unpack_gguf(path, tmp_path / "unpacked")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "begins with b''"),
        (b"PK\x03\x04 an archive", "begins with b'PK"),
        (b"GGUF" + b"\xff" * 60, "v4294967295"),
    ],
)
def test_a_file_that_is_no_gguf_file_is_said_to_be_none(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert told in message_of(path)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.9, 0.9999])
def test_a_cut_gguf_file_is_one_line(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: max(4, int(share * len(content)))])
    assert "cannot be loaded" in message_of(path)


def test_a_gguf_file_of_another_kind_of_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "sound.gguf"
    writer = GGUFWriter(path, "melodica")
    writer.add_name("sound")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "melodica is not supported" in message_of(path)


def test_a_gguf_file_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "llama.gguf"
    llama_gguf.write_llama(path, without=["blk.1.ffn_up.weight", "blk.1.ffn_down.weight"])
    before = logging.get_verbosity()

    assert "lacks weights: 2, as model.layers.1.mlp.down_proj.weight" in message_of(path)
    assert logging.get_verbosity() == before


def test_a_folder_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    llama_gguf.tiny_llama(60).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights: 1, as model.norm.weight" in message_of(tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    llama_gguf.tiny_llama(60).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "has misshapen weights: 1, as model.norm.weight" in message_of(tmp_path)


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in message_of(tmp_path / "no.gguf")


def test_without_the_extra_it_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # as Python marks what cannot be imported
    assert "pip install 'unglossed[gguf]'" in message_of(path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    assert "cannot be loaded" in message_of(tmp_path)


@torch.no_grad()
def test_a_translator_of_another_run_is_found_in_its_run_folder(tmp_path: Path) -> None:
    tiny.tiny_translator(tmp_path / "run" / "model")
    expected = tiny.tiny_model(tiny.tiny_processor()).adapter.state_dict()

    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        found = load_trained(str(folder)).adapter.state_dict()
        assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_a_language_model_is_found_in_the_run_folder_that_trained_it(tmp_path: Path) -> None:
    trained = llama_gguf.tiny_llama(60)
    trained.save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "run.json").write_text("{}")

    found = load_language_model(str(tmp_path / "run")).state_dict()

    assert all(torch.equal(weight, found[name]) for name, weight in trained.state_dict().items())
    assert "the run is not finished" in message_of(tmp_path / "half")


def test_what_is_no_translator_is_named(tmp_path: Path) -> None:
    llama_gguf.tiny_llama(60).save_pretrained(tmp_path)
    for source, told in ((tmp_path, "'llama'"), (tmp_path / "no", "no such folder")):
        with pytest.raises(InputError) as caught, field("stages.second.encoder.source"):
            load_trained(str(source))
        message = str(caught.value)
        assert message.startswith(f"stages.second.encoder.source: {source}")
        assert told in message
        assert "\n" not in message


def test_weights_that_are_cut_or_not_all_asked_for_are_named(tmp_path: Path) -> None:
    tiny.tiny_translator(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "adapter.third": torch.ones(2)}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"has further weights: 1, as adapter\.third"):
        load_trained(str(tmp_path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"^.* cannot be loaded: .*incomplete"):
        load_trained(str(tmp_path))


def test_a_misspelt_folder_is_no_hub_name(tmp_path: Path) -> None:
    source = tmp_path / "nowhere"
    assert message_of(source) == (
        f"{WHERE}: {source}: no such folder, expected a model folder or a hub name"
    )
