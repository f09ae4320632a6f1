"""Encoder and adapter as ONNX: the numbers of the model, for any number of frames and clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from processes import run_python
from tiny import tiny_model, tiny_processor, tiny_speech_model, tiny_translator
from unglossed.errors import InputError
from unglossed.inference.export import SignalReader, export_encoder
from unglossed.models.translator import Translator, TranslatorConfig

LENGTHS = ((7,), (3, 1, 6, 2))


def frames_of(lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (sum(lengths), 32, 32, 3), generator=generator).byte()
    return frames, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("features", ["sign_wise", "frame_wise"])
@pytest.mark.parametrize(("grid", "motion"), [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("lengths", LENGTHS)
@torch.no_grad()
def test_what_is_exported_computes_what_the_model_does(features, grid, motion, lengths) -> None:
    plain = tiny_model(tiny_processor()).config
    encoder = {**plain.encoder, "features": features, "grid": grid, "motion": motion}
    config = TranslatorConfig(
        encoder=encoder, adapter=plain.adapter, language_model=plain.language_model
    )
    model = Translator(config).eval()
    for module in model.encoder.modules():  # statistics that leave no zero zero
        if hasattr(module, "running_mean"):
            module.running_mean.uniform_(-1, 1)
    frames, mask = frames_of(lengths)
    expected, _ = model.adapter(*model.encode(frames, torch.tensor(lengths)))
    found = SignalReader(model)(frames, mask)
    torch.testing.assert_close(found[mask], expected[mask])
    assert not found[~mask].any()


@pytest.mark.slow
@pytest.mark.parametrize("motion", [False, True])
def test_the_file_serves_one_clip_and_many(tmp_path: Path, motion: bool) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    tiny_translator(tmp_path / "model", motion=motion)
    difference = export_encoder(tmp_path / "model", tmp_path / "onnx")
    assert difference < 1e-5
    model = Translator.from_pretrained(tmp_path / "model").eval()
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "encoder.onnx")
    for lengths in LENGTHS:
        frames, mask = frames_of(lengths)
        (found,) = session.run(["embeds"], {"frames": frames.numpy(), "mask": mask.numpy()})
        with torch.no_grad():
            expected = SignalReader(model)(frames, mask)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_without_a_visual_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a visual one: it reads audio"):
        SignalReader(tiny_speech_model(tiny_processor()))


@pytest.mark.slow
def test_numbers_that_are_none_are_not_exported(tmp_path: Path) -> None:
    """Weights that are numbers, but too large to compute with."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    tiny_translator(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    weights["encoder.temporal.conv.weight"][:] = 3e38
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="NaN or infinite"):
        export_encoder(tmp_path / "model", tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="exists already, expected a new or an empty folder"):
        export_encoder(tmp_path / "model", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


@pytest.mark.slow
def test_what_packages_log_of_their_own_affairs_is_not_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    tiny_translator(tmp_path / "model")
    words = ("export", tmp_path / "model", "--output", tmp_path / "onnx")
    told = run_python(["-m", "unglossed", *words])
    assert (told.returncode, told.stderr) == (0, "")
