"""The fast form of a frozen encoder: torch's features within a tolerance, alone or in a batch."""

import copy
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from processes import run_python
from unglossed.errors import InputError
from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.frozen import (
    TOLERANCES,
    VARIABLE,
    Engine,
    FrozenForm,
    engine_for,
    engine_of,
    fast_encoder,
    fold,
    installed_engines,
)
from unglossed.models.translator import Translator

NEEDS_OPENVINO = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra openvino is not installed"
)
FAST = pytest.mark.parametrize(
    "engine", [Engine.FOLDED, pytest.param(Engine.OPENVINO, marks=NEEDS_OPENVINO)]
)
BACKBONE: dict[str, Any] = tiny.ENCODER["backbone"]  # type: ignore[assignment]
KINDS: dict[str, dict[str, Any]] = {
    "basic": {},
    "bottleneck": {"backbone": {**BACKBONE, "layer_type": "bottleneck", "hidden_sizes": [32, 64]}},
    "grid": {"grid": 2},
    "frame-wise": {"features": "frame_wise"},
    "motion": {"grid": 2, "motion": True},
}


def trained_encoder(**changes: Any) -> Encoder:
    """An encoder whose normalisations do something, as those of a trained one."""
    torch.manual_seed(0)
    encoder = build_encoder({**tiny.ENCODER, **changes}).eval()
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            nn.init.normal_(norm.running_mean, std=0.3)
            nn.init.uniform_(norm.running_var, 0.3, 2)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
    return encoder.requires_grad_(False)


def draw(*lengths: int, side: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (sum(lengths), side, side, 3)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return frames, torch.tensor(lengths)


@FAST
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_torch_within_the_tolerance(
    kind: str, bfloat16: bool, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, engine)
    encoder = trained_encoder(**KINDS[kind])
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    fast = fast_encoder(encoder, bfloat16=bfloat16)

    assert engine_of(fast) is engine
    assert (fast.output_dim, fast.signal) == (encoder.output_dim, "video")
    expected, mask = encoder(*draw(5, 2))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found, same_mask = fast(*draw(5, 2))
        plain, _ = encoder(*draw(5, 2))
    assert found.dtype == plain.dtype
    assert torch.equal(mask, same_mask)
    assert not found[~mask].any()
    difference = (found.float() - expected).abs().max() / expected.abs().max()
    assert 0 < difference < TOLERANCES["bfloat16" if bfloat16 else "float32"]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@FAST
@pytest.mark.parametrize("size", [(24, 40), (33, 47), (64, 64)])
def test_pictures_of_any_size_give_torchs_features(size: tuple[int, int], engine: Engine) -> None:
    encoder = trained_encoder(grid=2)
    generator = torch.Generator().manual_seed(2)
    frames = torch.randint(0, 256, (7, *size, 3), dtype=torch.uint8, generator=generator)
    lengths = torch.tensor([2, 4, 1])

    fast = fast_encoder(encoder, bfloat16=False, frames=frames, wanted=engine)

    assert engine_of(fast) is engine
    (found, mask), (expected, same_mask) = fast(frames, lengths), encoder(frames, lengths)
    assert torch.equal(mask, same_mask)
    assert not found[~mask].any()
    assert (found - expected).abs().max() < TOLERANCES["float32"] * expected.abs().max()


@FAST
def test_an_encoder_that_is_trained_has_no_fast_form(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, engine)
    model = tiny.tiny_model(tiny.tiny_processor()).train()
    frames, lengths = draw(3, 2)
    for training in (True, False):
        model.train(training)
        features, _ = model.encode(frames, lengths)
        assert torch.equal(features, model.encoder(frames, lengths)[0])
        features.sum().backward()
        weights = list(model.encoder.backbone.parameters())
        assert all(weight.grad is not None for weight in weights)
        model.zero_grad()

    model.freeze(["encoder"])

    frozen, _ = model.encode(frames, lengths)
    assert not frozen.requires_grad
    assert not torch.equal(frozen, features)  # the fast form's last bits


def test_an_encoder_in_training_mode_is_computed_as_it_is() -> None:
    encoder = trained_encoder().train()

    assert fast_encoder(encoder, bfloat16=False) is encoder
    for engine in installed_engines():
        assert fast_encoder(encoder, bfloat16=False, wanted=engine) is encoder
    assert engine_of(fast_encoder(encoder.eval(), bfloat16=False)) is not Engine.TORCH


@FAST
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_clip_has_the_same_features_whatever_was_encoded_before_and_beside_it(
    bfloat16: bool, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, engine)
    model = tiny.tiny_model(tiny.tiny_processor())
    model.freeze(["encoder"])
    frames, lengths = draw(3, 6, 1, 6)
    clips = torch.split(frames, lengths.tolist())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        together, mask = model.encode(frames, lengths)
        again = copy.deepcopy(model)
        for index in (2, 1, 3, 0):
            alone, _ = again.encode(clips[index], lengths[index : index + 1])
            assert torch.equal(alone[0], together[index][mask[index]])


@FAST
def test_threads_and_calls_side_by_side_change_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, engine)
    encoder = trained_encoder()
    clips = [draw(length) for length in (9, 4, 7, 1)]
    fast = fast_encoder(encoder, bfloat16=False)
    expected = [fast(*clip)[0] for clip in clips]
    torch.set_num_threads(2)
    try:
        shared = fast_encoder(encoder, bfloat16=False)
        with ThreadPoolExecutor(4) as pool:
            found = [features for features, _ in pool.map(lambda clip: shared(*clip), clips * 4)]
    finally:
        torch.set_num_threads(1)
    assert all(map(torch.equal, found, expected * 4))


def test_folding_leaves_no_normalisation_and_the_original_as_it_was() -> None:
    backbone = trained_encoder().backbone
    folded = fold(backbone)  # type: ignore[arg-type]
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        folded(pixel_values=pixels).pooler_output, backbone(pixel_values=pixels).pooler_output
    )


@FAST
def test_a_form_that_is_far_from_torch_is_not_used(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Small differences of large numbers: what rounding leaves of them is noise."""
    monkeypatch.setenv(VARIABLE, engine)
    encoder = trained_encoder()
    stem: Any = encoder.backbone.embedder.embedder  # type: ignore[union-attr]
    with torch.no_grad():
        stem.convolution.bias = nn.Parameter(torch.full((8,), 1e8))
        stem.normalization.running_mean.add_(1e8)

    assert fast_encoder(encoder, bfloat16=True, frames=draw(3)[0]) is encoder

    said = capsys.readouterr().err
    assert f"note: encoder: found features by {engine} that are " in said
    assert "expected at most 5e-02: torch computes them" in said


@FAST
def test_weights_that_change_change_the_features(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, engine)
    encoder, form = trained_encoder(), FrozenForm()
    frames, lengths = draw(3)
    made = form.of(encoder, bfloat16=False, frames=frames)
    assert form.of(encoder, bfloat16=False, frames=frames) is made
    assert form.of(encoder, bfloat16=True, frames=frames) is not made

    other = {name: value * 0.5 for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(other)

    found, _ = form.of(encoder, bfloat16=False, frames=frames)(frames, lengths)
    torch.testing.assert_close(found, encoder(frames, lengths)[0], rtol=1e-4, atol=1e-5)
    monkeypatch.setenv(VARIABLE, Engine.TORCH)
    assert form.of(encoder, bfloat16=False, frames=frames) is encoder


@FAST
def test_a_model_with_a_fast_form_is_copied_and_pickled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, engine)
    model = tiny.tiny_model(tiny.tiny_processor())
    model.freeze(["encoder"])
    names = set(model.state_dict())
    features, _ = model.encode(*draw(3))

    assert set(model.state_dict()) == names
    again: list[Translator] = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    assert all(torch.equal(one.encode(*draw(3))[0], features) for one in again)


def test_other_encoders_are_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, Engine.FOLDED)
    vit = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "image_size": 32}
    vit |= {"num_attention_heads": 2, "intermediate_size": 16, "patch_size": 8}
    for encoder in (
        build_encoder({"frontend": tiny.FRONTEND}),
        build_encoder({**tiny.ENCODER, "backbone": vit}),
    ):
        assert fast_encoder(encoder.eval(), bfloat16=False) is encoder


@NEEDS_OPENVINO
def test_openvino_is_chosen_where_it_is_installed_and_can_take_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert engine_for(trained_encoder()) is Engine.OPENVINO
    gelu = trained_encoder(backbone={**BACKBONE, "hidden_act": "gelu"})
    assert engine_for(gelu) is Engine.FOLDED
    assert engine_of(fast_encoder(gelu, bfloat16=False)) is Engine.FOLDED


@pytest.mark.skipif(find_spec("openvino") is not None, reason="the extra openvino is installed")
def test_without_openvino_convolutions_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert engine_for(trained_encoder()) is Engine.FOLDED
    monkeypatch.setenv(VARIABLE, "openvino")
    with pytest.raises(InputError, match=r"not installed: pip install 'unglossed\[openvino\]'"):
        engine_for(trained_encoder())


def test_an_unknown_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "onnx")
    expected = "UNGLOSSED_ENCODER: found 'onnx', expected one of torch, folded, openvino"
    with pytest.raises(InputError, match=expected):
        fast_encoder(trained_encoder(), bfloat16=False)


TOLD = """
import sys
import tiny
from unglossed.models.encoder import build_encoder
from unglossed.models.frozen import engine_of, fast_encoder
print(engine_of(fast_encoder(build_encoder(tiny.ENCODER).eval(), bfloat16=False)))
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry")))
"""


@NEEDS_OPENVINO
def test_openvino_tells_its_makers_nothing(tmp_path: Path) -> None:
    """Imported as it is, it writes a number of the user below the home folder, and sends it."""
    folders = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]
    quiet = {name: value for name, value in os.environ.items() if name not in ("CI", VARIABLE)}
    paths = os.pathsep.join(folders)
    done = run_python(["-c", TOLD], env={**quiet, "PYTHONPATH": paths, "HOME": str(tmp_path)})

    assert done.stdout.split() == ["openvino", "[]"], done.stderr
    assert not done.stderr
    assert not (tmp_path / "intel").exists()
