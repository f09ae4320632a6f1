"""What differs on a GPU: `make gpu` runs the tests marked `gpu`; CI runs the same code on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Dataset

import tiny
from unglossed.inference.translator import SignTranslator
from unglossed.models.frugal import frugal_resnet
from unglossed.models.synced_norm import SyncedNorm
from unglossed.models.visual import VisualEncoder
from unglossed.ranks import Ranks
from unglossed.training.arguments import stage_arguments
from unglossed.training.data import Collator
from unglossed.training.draws import Draws, kept_draws
from unglossed.training.loader import on_device
from unglossed.training.settings import StageSettings
from unglossed.training.sharding import Shards
from unglossed.training.trainer import StageTrainer

pytestmark = pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
PROCESSOR = tiny.tiny_processor()
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
HERE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where a trainer computes."""


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=["here", pytest.param("gpu", marks=[pytest.mark.gpu, NO_CUDA])])
def trains(request: pytest.FixtureRequest) -> None:
    """For what trains where the trainer chooses: on the GPU, where there is one."""


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32, which torch computes with ten bits on a GPU (TF32)."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def process_group() -> Iterator[None]:
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Clips(Dataset[dict[str, Any]]):
    """Six clips of frames, two to seven each."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(item[1])
        frames = torch.randint(0, 256, (2 + item[1], 32, 32, 3), dtype=torch.uint8, generator=draw)
        labels = PROCESSOR.encode_text(tiny.SENTENCES[item[1] % 3])
        return {"frames": frames, "lengths": torch.tensor([len(frames)]), "labels": labels}


def stage(**changes: Any) -> StageSettings:
    settings: dict[str, Any] = {
        "name": "stage",
        "encoder": {},
        "adapter": {},
        "language_model": {},
        "learning_rates": {"encoder": 0.01, "adapter": 0.01, "language_model": 0.01},
        "epochs": 1,
        "batch_size": 2,
        "precision": "float32",
    }
    return StageSettings.model_validate(settings | changes)


def train(folder: Path, settings: StageSettings, *, num_workers: int = 0) -> list[float]:
    """Losses of the three steps of an epoch, dropout in the adapter included."""
    model = tiny.tiny_model(PROCESSOR)
    model.adapter.dropout.p = 0.2
    arguments = stage_arguments(
        settings, folder, steps_per_epoch=3, seed=7, num_workers=num_workers
    )
    arguments.logging_steps = 1
    scores = {"bleu4": 0.0}
    trainer = StageTrainer(
        *(settings, model, Clips(), Collator(PROCESSOR), arguments, lambda: scores, [])
    )
    trainer.train()
    assert next(trainer.model.parameters()).device.type == HERE.type
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_bfloat16_and_fused_optimisers_train_as_float32_on_a_cpu_would(
    trains: None, tmp_path: Path, optimizer: str
) -> None:
    settings = {"name": optimizer, "max_grad_norm": 1.0}
    exact = train(tmp_path / "float32", stage(optimizer=settings))
    rounded = train(tmp_path / "bfloat16", stage(optimizer=settings, precision="bfloat16"))

    assert len(exact) == 3
    assert exact == pytest.approx(EXPECTED[optimizer], rel=5e-3)
    assert rounded == pytest.approx(exact, rel=3e-2)


EXPECTED = {
    "sgd": [4.4797, 4.5499, 4.4929],
    "adam": [4.4797, 3.9968, 3.1254],
    "adamw": [4.4797, 3.9968, 3.1254],
}
"""Losses on a CPU, with draws that depend on the seed, the step and the clip alone."""


def test_processes_that_read_into_pinned_memory_change_nothing(
    trains: None, tmp_path: Path
) -> None:
    alone = train(tmp_path / "alone", stage())
    read = train(tmp_path / "read", stage(), num_workers=2)

    assert read == pytest.approx(alone, rel=1e-6)


def test_a_batch_goes_to_the_device_and_its_lists_stay(device: torch.device) -> None:
    batch = {"frames": torch.ones(2, 3), "rows": [4, 5]}
    if device.type == "cuda":
        batch["frames"] = batch["frames"].pin_memory()

    found = on_device(batch, device)

    assert found["frames"].device.type == device.type
    assert found["frames"].sum() == 6
    assert found["rows"] == [4, 5]


def test_dropout_is_drawn_alike_on_every_device(device: torch.device) -> None:
    values = torch.ones(3, 5, 7)
    found = []
    for where in (torch.device("cpu"), device):
        with Draws(3).dropout(11, [4, 9, 2], where):
            found.append(nn.functional.dropout(values.to(where), 0.4).cpu())

    assert torch.equal(*found)
    assert 0 < (found[0] == 0).float().mean() < 1


def test_scoring_leaves_the_generators_as_they_are(device: torch.device) -> None:
    def drawn() -> torch.Tensor:
        return torch.rand(4, device=device)

    torch.manual_seed(5)
    expected = drawn()
    torch.manual_seed(5)
    with kept_draws(device):
        drawn()

    assert torch.equal(drawn(), expected)


def test_a_resnet_of_little_memory_has_the_same_gradients(device: torch.device) -> None:
    encoder: Any = VisualEncoder(tiny.ENCODER).to(device).train()
    plain = copy.deepcopy(encoder)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(20, 3, 32, 32, generator=draw).to(device)
    pixels = pixels.to(memory_format=torch.channels_last)

    for backbone, work in ((encoder.backbone, frugal_resnet), (plain.backbone, _plain)):
        work(backbone, pixels).pooler_output.square().sum().backward()

    theirs = dict(plain.backbone.named_parameters())
    for name, weight in encoder.backbone.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[name].grad, rtol=1e-3, atol=1e-3)
    buffers = dict(plain.backbone.named_buffers())
    for name, values in encoder.backbone.named_buffers():
        torch.testing.assert_close(values, buffers[name])


def _plain(backbone: nn.Module, pixels: torch.Tensor) -> Any:
    return backbone(pixel_values=pixels)


def test_a_process_group_of_one_sums_on_the_device(
    device: torch.device, process_group: None
) -> None:
    values = torch.arange(4.0, device=device)
    dist.all_reduce(values)
    told: list[Any] = [None]
    dist.all_gather_object(told, {"loss": 1.0})

    assert values.tolist() == [0, 1, 2, 3]
    assert told == [{"loss": 1.0}]


def test_normalisation_of_one_process_is_torchs(device: torch.device, process_group: None) -> None:
    norm = nn.BatchNorm2d(3).to(device).train()
    synced = SyncedNorm(copy.deepcopy(norm), Ranks(device=device))
    values = torch.randn(4, 3, 5, 5, device=device)
    inputs = [values.clone().requires_grad_() for _ in range(2)]

    for module, given in zip((norm, synced), inputs, strict=True):
        module(given).square().mul(values).sum().backward()

    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.running_var, synced.running_var)


def test_fsdp2_of_one_process_trains_as_a_whole_model(
    device: torch.device, process_group: None
) -> None:
    whole = tiny.tiny_model(PROCESSOR).to(device)
    model = copy.deepcopy(whole)
    shards = Shards(model, Ranks(device=device), bfloat16=False)
    draw = torch.Generator().manual_seed(0)
    batch = {
        "features": torch.randn(2, 4, 24, generator=draw).to(device),
        "mask": torch.ones(2, 4, dtype=torch.bool, device=device),
        "labels": torch.randint(4, 40, (2, 6), generator=draw).to(device),
    }
    optimizers = [
        torch.optim.AdamW(one.parameters(), lr=0.01, fused=True)
        for one in (whole.language_model, model.language_model)
    ]

    for one, optimizer in zip((whole, model), optimizers, strict=True):
        one(**batch).logits.square().mean().backward()
        optimizer.step()

    with shards.whole():
        found = model(**batch).logits
        assert next(model.language_model.parameters()).device.type == device.type
    torch.testing.assert_close(found, whole(**batch).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_weights_in_4_bits_are_near_and_hand_gradients_on(device: torch.device) -> None:
    from unglossed.models.tuning import QuantizedLinear

    linear = nn.Linear(64, 128)
    held = QuantizedLinear(copy.deepcopy(linear)).to(device)
    inputs = torch.randn(3, 64, device=device, requires_grad=True)

    outputs = held(inputs)
    outputs.sum().backward()

    expected = linear.to(device)(inputs)
    assert (outputs - expected).abs().max() < 0.2 * expected.abs().max()
    torch.testing.assert_close(
        inputs.grad, held.dequantized().to(device).sum(0).expand(3, -1), rtol=1e-2, atol=1e-2
    )


def test_int8_translates_beside_a_gpu(trains: None, tmp_path: Path) -> None:
    model = tiny.tiny_translator(tmp_path / "model")
    clip = tiny.write_frames(tmp_path / "clip", 5)
    found = {}
    for precision in ("float32", "int8"):
        translator = SignTranslator.from_pretrained(model, precision=precision)
        found[precision] = translator.translate([clip], beams=1, max_new_tokens=5)[0].text
        device = "cpu" if precision == "int8" else HERE.type
        assert translator.model.device.type == device

    assert isinstance(found["int8"], str)
