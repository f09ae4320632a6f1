"""A model as the networks of a page: the numbers and the texts of the model."""

from __future__ import annotations

import json
import platform
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import MBartConfig, PreTrainedTokenizerFast, T5Config

from tiny import tiny_decoder_only, tiny_model, tiny_processor, tiny_speech_model, tiny_translator
from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.inference.precision import Int8Linear, quantize
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.inference.web import export as web_export
from unglossed.inference.web.export import export_web, write_model
from unglossed.inference.web.parts import FrameReader, PortableInt8Linear
from unglossed.inference.web.runtime import copy_runtime
from unglossed.inference.web.tokens import join, token_bytes
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig

X86 = platform.machine().lower() in ("x86_64", "amd64")
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))),
    reason="the extra onnx is not installed",
)


def model_of(kind: str, processor: TranslatorProcessor) -> Translator:
    """A tiny translator, around another language model than Light-T."""
    plain = tiny_model(processor, motion=kind == "motion")
    if kind in ("light_t", "motion"):
        return plain
    tokenizer = processor.tokenizer
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": processor.start_token_id,
    }
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "init_std": 0.2}
    sizes |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")}
    t5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    config = MBartConfig(**ids, **sizes) if kind == "mbart" else T5Config(**ids, **t5)
    torch.manual_seed(3)
    return Translator(
        TranslatorConfig(
            encoder=plain.config.encoder,
            adapter=plain.config.adapter,
            language_model=config.to_dict(),
            prompt={"before": [7, 8], "after": [9]} if kind == "mbart" else None,
        )
    ).eval()


def clips(processor: TranslatorProcessor) -> list[np.ndarray]:
    """Frames in memory that differ, of 5 to 19 frames."""
    rng = np.random.default_rng(5)
    side = processor.resize
    return [rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8) for count in (5, 12, 19)]


def greedy(folder: Path, frames: np.ndarray) -> list[int]:
    """Token ids that the three files give of a clip as the model sees it."""
    import onnxruntime

    manifest = json.loads((folder / "manifest.json").read_text())
    read, clip, text = (
        onnxruntime.InferenceSession(folder / f"{name}.onnx") for name in ("frames", "clip", "text")
    )
    if manifest["motion"]:  # behind the one before them
        frames = np.concatenate([frames[:1], frames])
    (vectors,) = read.run(None, {"frames": frames})
    cross = {f"cross.{at}": one for at, one in enumerate(clip.run(None, {"vectors": vectors}))}
    past = {f"past.{at}": one[:, :, :0] for at, one in enumerate(cross.values())}
    search = manifest["search"]
    ids, tokens = np.array([search["start"]]), []
    while len(tokens) < search["max_new_tokens"]:
        scores, *present = text.run(None, {"ids": ids, "order": np.array([0]), **past, **cross})
        past = {f"past.{at}": one for at, one in enumerate(present)}
        last = len(tokens) == search["max_new_tokens"] - 1
        forced = search["forced_end"] if last else None
        tokens.append(int(scores[0].argmax()) if forced is None else forced)
        if tokens[-1] in search["end"]:
            break
        ids = np.array([tokens[-1:]])
    return tokens


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["light_t", "mbart", "t5", "motion"])
def test_the_files_write_the_texts_of_the_model(tmp_path: Path, kind: str) -> None:
    processor = tiny_processor()
    decoding = DecodingSettings(beams=1, max_new_tokens=12)
    model = model_of(kind, processor)
    model.save_pretrained(tmp_path / "saved")
    difference = write_model(
        SignTranslator(model, processor, decoding), tmp_path / "model", {"more": 1}
    )
    assert difference < web_export.ROUNDED
    tokens = token_bytes(processor)
    stored = json.loads((tmp_path / "model" / "tokens.json").read_text())
    assert [one.encode("latin-1") for one in stored] == tokens
    # What `--precision int8` computes with VNNI; other processors round inputs to fewer numbers.
    plain = SignTranslator(Translator.from_pretrained(tmp_path / "saved"), processor, decoding)
    seen = [frames[::2] for frames in clips(processor)]
    features = [plain.encode(frames) for frames in seen]
    quantize(plain.model.language_model.model, PortableInt8Linear)
    expected = translate_features(plain.model, processor, features, decoding)
    for frames, told in zip(seen, expected, strict=True):
        ids = greedy(tmp_path / "model", processor([frames])["frames"].numpy())
        assert join(tokens, ids) == told.text
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["more"] == 1
    assert manifest["search"]["beams"] == 1
    assert manifest["search"]["forced_end"] == (2 if kind == "mbart" else None)
    assert manifest["search"]["max_new_tokens"] == 12
    assert manifest["frame_share"] == 0.5


@pytest.mark.skipif(not X86, reason="int8 needs an x86-64")
def test_the_8_bit_layer_computes_what_translate_computes() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(48, 20)
    rows = torch.randn(3, 5, 48) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    rows[1, 2] = 0
    ours, theirs = PortableInt8Linear(layer)(rows), Int8Linear(layer)
    if theirs.steps == 127:  # processors without VNNI round to fewer
        torch.testing.assert_close(ours, theirs(rows), rtol=1e-5, atol=1e-5)
    far = (ours - layer(rows)).abs().amax(-1) / layer(rows).abs().amax(-1)
    assert far.max() < 0.03


def saved(folder: Path, model: Translator) -> Path:
    processor = tiny_processor()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@needs_onnx
def test_models_that_no_page_can_run_are_refused(tmp_path: Path) -> None:
    processor = tiny_processor()
    llama = saved(tmp_path / "llama", tiny_decoder_only(processor))
    with pytest.raises(InputError, match="type 'llama', expected an encoder-decoder"):
        write_model(SignTranslator.from_pretrained(llama), tmp_path / "page", {})
    with pytest.raises(InputError, match="encoder of another kind, expected a visual one"):
        FrameReader(tiny_speech_model(processor))
    model = tiny_model(processor)
    model.language_model.model.generation_config.no_repeat_ngram_size = 3
    with pytest.raises(InputError, match="no_repeat_ngram_size: found 3, which a page does not"):
        write_model(SignTranslator(model, processor), tmp_path / "page", {})
    assert not (tmp_path / "page").exists()


@needs_onnx
def test_a_recipe_that_draws_is_told_of_the_search(tmp_path: Path, capsys) -> None:
    processor = tiny_processor()
    drawing = DecodingSettings(sample=True, language_contrast=0.5)
    search = web_export._search(SignTranslator(tiny_model(processor), processor, drawing))
    assert search["beams"] == 1
    told = capsys.readouterr().err
    assert "draws its texts" in told
    assert "without language contrast" in told


@needs_onnx
def test_what_the_page_leaves_out_of_the_decoding_is_told(tmp_path: Path, capsys) -> None:
    processor = tiny_processor()
    choosing = DecodingSettings(choice="minimum_risk", no_repeat_ngram_size=3)
    web_export._search(SignTranslator(tiny_model(processor), processor, choosing))
    told = capsys.readouterr().err
    assert "takes that by minimum_risk" in told
    assert "lets runs of tokens stand twice" in told
    web_export._search(SignTranslator(tiny_model(processor), processor))
    assert capsys.readouterr().err == ""


@needs_onnx
def test_a_file_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    import onnxruntime

    processor = tiny_processor()
    one, other = (FrameReader(tiny_model(processor, seed)).eval() for seed in (0, 1))
    pictures = web_export._pictures(3, processor.crop)
    web_export.write_network(
        one, {"frames": pictures}, tmp_path / "one.onnx", {"frames": None}, outputs=["vectors"]
    )
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    with torch.no_grad():
        web_export._Checked(session, one, "one.onnx", 1e-4)({"frames": pictures})
        with pytest.raises(InputError, match=r"one.onnx: found results that differ"):
            web_export._Checked(session, other, "one.onnx", 1e-4)({"frames": pictures})


@needs_onnx
@pytest.mark.slow
def test_numbers_that_are_none_are_not_exported(tmp_path: Path) -> None:
    """Weights that are numbers, but too large to compute with."""
    model = tiny_translator(tmp_path / "model")
    path = model / "model.safetensors"
    weights = load_file(path)
    weights["encoder.temporal.conv.weight"][:] = 3e38
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="NaN or infinite"):
        write_model(SignTranslator.from_pretrained(model), tmp_path / "page", {})


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="exists already, expected a new or an empty folder"):
        export_web(tmp_path / "model", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_the_runtime_is_compared_with_what_is_known_of_it(tmp_path: Path) -> None:
    source = tmp_path / "package" / "dist"
    source.mkdir(parents=True)
    with pytest.raises(InputError, match=r"found no ort.wasm.min.mjs, expected the folder dist of"):
        copy_runtime(source, tmp_path / "a")
    (source / "ort.wasm.min.mjs").write_text("something else")
    with pytest.raises(InputError, match=r"ort.wasm.min.mjs: found the SHA-256 .*, expected 219e"):
        copy_runtime(source.parent, tmp_path / "b")


def test_without_npm_the_way_out_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"npm is not there.*--runtime"):
        copy_runtime(None, tmp_path / "a")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network ENOTFOUND' >&2; exit 1\n")
    npm.chmod(0o755)
    with pytest.raises(InputError, match=r"could not bring .*ENOTFOUND.*--runtime"):
        copy_runtime(None, tmp_path / "b")


def of_tokenizer(backend: Tokenizer) -> TranslatorProcessor:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    return TranslatorProcessor(tokenizer=tokenizer)


def test_tokens_of_several_kinds_of_tokenizer() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {one: at for at, one in enumerate(["<pad>", "</s>", "<unk>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    processor = of_tokenizer(backend)
    tokens = token_bytes(processor)
    text = "Grüße, 北 und 🙂"
    assert join(tokens, processor.encode_text(text)) == text

    pieces = {"<pad>": 0, "</s>": 1, "<unk>": 2, "reg": 3, "##nen": 4, "es": 5}
    backend = Tokenizer(models.WordPiece(vocab=pieces, unk_token="<unk>"))
    backend.decoder = decoders.WordPiece()
    with pytest.raises(InputError, match="expected one whose texts are its tokens in a row"):
        token_bytes(of_tokenizer(backend))
