"""A whole training step of the paper's stage 1, against the same model written plainly.

ResNet-18 at 224 x 224 pixels, temporal module, VL-Adapter, Light-T Base with 2,429 words; a batch
of two clips of 64 frames, given as bytes, without augmentation. Ours goes through the project's
model, optimiser and trainer; the baseline pads the clips and computes in float32, channels first,
with the optimiser as torch has it. The two train in turns, from the same weights.

    python benchmarks/stage1.py [--pairs 5] [--lengths 64 64] [--size paper]
    python benchmarks/stage1.py --size large --momentum bfloat16
    python benchmarks/stage1.py --memory 64 512 2000
    python benchmarks/stage1.py --profile

Peak memory is that of a process which does two steps; the losses of those are compared in float32.
`--memory` gives that of one clip of each length, `--profile` where the time of a step goes, both of
ours alone.
`--size large` has a Light-T of width 1024, 115 M parameters altogether, as much as a public
re-implementation of the paper; `--momentum` says how ours holds the optimiser's.
Clips of unequal length are padded in the baseline, whose normalisation counts the padding: its
losses are others then.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import as_trained  # noqa: F401 - before torch
import torch
from pairs import peak_gigabytes, time_pairs
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel, set_seed

from unglossed.models.language_model import LightT, LightTConfig, light_t_config
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.training.arguments import stage_arguments
from unglossed.training.features import use_bfloat16
from unglossed.training.settings import StageSettings
from unglossed.training.trainer import StageTrainer

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NUM_WORDS, TEXT_LENGTH = 2429, 15
START = 2
RATES = {"encoder": 1e-2, "adapter": 1e-2, "language_model": 1e-2}
SMOOTHING = 0.2
SIZES: dict[str, str | dict[str, int]] = {
    "small": "tiny",
    "paper": "base",
    "large": {"layers": 3, "heads": 8, "width": 1024, "ffn_dim": 4096},
}
"""Light-T of each size of model; the small one has a shrunk CNN as well."""
NUM_STEPS = 2
MOST_FRAMES = 4096

Step = Callable[[], float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="steps of each that are counted")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 64], help="frames of clips")
    parser.add_argument("--size", choices=SIZES, default="paper", help="small: to try the script")
    parser.add_argument("--momentum", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--memory", type=int, nargs="+", help="frames of clips; memory alone")
    parser.add_argument("--profile", action="store_true", help="where the time of a step goes")
    arguments = parser.parse_args()
    lengths, size, momentum = arguments.lengths, arguments.size, arguments.momentum
    if arguments.memory:
        for num_frames in arguments.memory:
            peak = peak_gigabytes(train, "ours", [num_frames], size, momentum)
            print(f"one clip of {num_frames} frames: {peak:.2f} GB at most")
        return
    if arguments.profile:
        print_profile(our_step(lengths, size, momentum=momentum))
        return
    precision = "bfloat16" if use_bfloat16("auto") else "float32"
    print(f"{torch.get_num_threads()} threads, ours in {precision}; clips of {lengths} frames")

    theirs, mine = (losses(make(lengths, size)) for make in (baseline_step, exact_step))
    difference = max(abs(one - two) / one for one, two in zip(theirs, mine, strict=True))
    print(f"losses in float32: {theirs} and {mine}, apart by {difference:.1e} of their value")

    names = ("baseline", "ours")
    peaks = [peak_gigabytes(train, name, lengths, size, momentum) for name in names]
    print(f"peak memory: {peaks[0]:.2f} and {peaks[1]:.2f} GB, {peaks[1] / peaks[0]:.2f} of it")

    ours = our_step(lengths, size, momentum=momentum)
    ratio = time_pairs(baseline_step(lengths, size), ours, arguments.pairs)
    num_frames = sum(lengths)
    rates = [num_frames / seconds for seconds in (ratio.baseline_seconds, ratio.seconds)]
    print(f"frames a second: {rates[0]:.1f} and {rates[1]:.1f}; {ratio}")
    if size != "small":
        peak = matmul_rate(torch.bfloat16 if precision == "bfloat16" else torch.float32)
        done = 6 * cnn_multiplications() * rates[1]
        print(f"{done / 1e9:.0f} GFLOP/s in the CNN, {done / peak:.0%} of a matrix product's")


KINDS = (
    ("convolutions, backward", r"convolution_backward"),
    ("convolutions, forward", r"convolution|conv2d|conv1d"),
    ("normalisation, backward", r"batch_norm_backward|layer_norm_backward"),
    ("normalisation, forward", r"batch_norm|layer_norm"),
    ("pooling", r"pool"),
    ("ReLU", r"relu|threshold"),
    ("additions", r"aten::add_?$"),
    ("matrix products and attention of Light-T", r"mm$|addmm|bmm|linear|attention|matmul"),
    ("copies and changes of number format", r"copy_|to_copy|contiguous|cat|clone"),
    ("optimiser", r"Optimizer|sgd|foreach"),
)


def print_profile(step: Step) -> None:
    """Print what share of a step's time each kind of operation takes, by its own time."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        step()
    shares = dict.fromkeys([kind for kind, _ in KINDS] + ["all else"], 0.0)
    for event in recorded.key_averages():
        kinds = (kind for kind, pattern in KINDS if re.search(pattern, event.key))
        shares[next(kinds, "all else")] += event.self_cpu_time_total
    total = sum(shares.values())
    for kind, share in sorted(shares.items(), key=lambda row: -row[1]):
        print(f"{100 * share / total:5.1f} % {kind}")


def train(name: str, lengths: list[int], size: str, momentum: str) -> None:
    """Do what `losses` does, in a process of its own."""
    ours = name == "ours"
    losses(our_step(lengths, size, momentum=momentum) if ours else baseline_step(lengths, size))


def losses(step: Step) -> list[float]:
    """Losses of the first steps."""
    return [step() for _ in range(NUM_STEPS)]


def batch_of(lengths: list[int], size: str) -> dict[str, Tensor]:
    """Frames of noise, one clip after another, and texts."""
    side = 64 if size == "small" else 224
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (sum(lengths), side, side, 3), dtype=torch.uint8, generator=draw)
    labels = torch.randint(4, NUM_WORDS, (len(lengths), TEXT_LENGTH), generator=draw)
    return {"frames": frames, "lengths": torch.tensor(lengths), "labels": labels}


def parts(size: str) -> tuple[dict[str, Any], LightTConfig]:
    """Configurations of the backbone and of Light-T; nothing is dropped, so that losses agree."""
    widths = [8, 16] if size == "small" else [64, 128, 256, 512]
    backbone = {
        "model_type": "resnet",
        "layer_type": "basic",
        "embedding_size": widths[0],
        "hidden_sizes": widths,
        "depths": [2] * len(widths),
    }
    light_t = light_t_config(
        SIZES[size],
        NUM_WORDS,
        dropout=0.0,
        decoder_start_token_id=START,
        max_position_embeddings=MOST_FRAMES,
    )
    return backbone, light_t


def translator(size: str) -> Translator:
    """The project's model of stage 1."""
    backbone, light_t = parts(size)
    encoder = {
        "backbone": backbone,
        "grid": 1,
        "temporal_dim": 512,
        "temporal_kernel": 3,
        "image_mean": MEAN,
        "image_std": STD,
    }
    set_seed(0)
    return Translator(
        TranslatorConfig(
            encoder=encoder,
            adapter={"hidden_dim": 512, "dropout": 0.0},
            language_model=light_t.to_dict(),
        )
    )


def our_step(
    lengths: list[int], size: str, precision: str = "auto", momentum: str = "float32"
) -> Step:
    """A step as the project's trainer does it."""
    stage = stage_of(len(lengths), precision, momentum)
    return trainers_step(stage, translator(size), batch_of(lengths, size))


def stage_of(num_clips: int, precision: str = "auto", momentum: str = "float32") -> StageSettings:
    """The paper's stage 1, its steps of so many clips."""
    return StageSettings.model_validate(
        {
            "name": "visual_initialing",
            **{part: {} for part in RATES},
            "learning_rates": RATES,
            "optimizer": {"name": "sgd", "weight_decay": 1e-3, "momentum_dtype": momentum},
            "batch_size": num_clips,
            "epochs": 1,
            "label_smoothing": SMOOTHING,
            "precision": precision,
        }
    )


def trainers_step(stage: StageSettings, model: Any, batch: dict[str, Any]) -> Step:
    """A step of a stage on a batch as the project's trainer does it, on a GPU if there is one."""
    batch = {**batch, "rows": list(range(len(batch["labels"])))}
    with tempfile.TemporaryDirectory() as folder:
        arguments = stage_arguments(stage, Path(folder), steps_per_epoch=1, seed=0, num_workers=0)
        nothing: Any = [batch]  # steps are done by hand
        trainer = StageTrainer(stage, model, nothing, nothing, arguments, dict, [])
    trainer.create_optimizer()
    model, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    num_tokens = batch["labels"].numel()

    def step() -> float:
        loss = trainer.training_step(model, batch, torch.tensor(num_tokens))
        optimizer.step()
        model.zero_grad()
        return loss.item()

    return step


def exact_step(lengths: list[int], size: str) -> Step:
    """Ours in float32."""
    return our_step(lengths, size, "float32")


class Plain(nn.Module):
    """The same model as one would write it first: padded clips (batch, time, 3, height, width)."""

    def __init__(self, size: str) -> None:
        super().__init__()
        backbone, light_t = parts(size)
        backbone.pop("model_type")
        self.backbone = ResNetModel(ResNetConfig(**backbone))
        dim, width = backbone["hidden_sizes"][-1], light_t.d_model
        self.conv, self.norm = nn.Conv1d(dim, 512, 3, padding=1), nn.BatchNorm1d(512)
        self.hidden, self.output = nn.Linear(512, 512), nn.Linear(512, width)
        self.light_t = LightT(light_t)

    def forward(self, frames: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Logits of the labels."""
        vectors = self.backbone(frames.flatten(0, 1)).pooler_output.flatten(1)
        vectors = vectors.unflatten(0, frames.shape[:2])
        mixed = torch.relu(self.norm(self.conv(vectors.transpose(1, 2)))).transpose(1, 2)
        embeds = self.output(nn.functional.gelu(self.hidden(mixed)))
        words = nn.functional.pad(labels[:, :-1], (1, 0), value=START)
        return self.light_t(
            inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=words
        ).logits

    def take_weights(self, model: Translator) -> None:
        """Start from the same weights."""
        encoder: Any = model.encoder
        adapter, writer = model.adapter, model.language_model
        for mine, theirs in (
            (self.backbone, encoder.backbone),
            (self.conv, encoder.temporal.conv),
            (self.norm, encoder.temporal.norm),
            (self.hidden, adapter.hidden),
            (self.output, adapter.output),
            (self.light_t, writer.model),
        ):
            mine.load_state_dict(theirs.state_dict())


def baseline_step(
    lengths: list[int], size: str, device: str = "cpu", *, bfloat16: bool = False
) -> Step:
    """A step of the plain model; with `bfloat16` under autocast."""
    batch = {name: values.to(device) for name, values in batch_of(lengths, size).items()}
    model = Plain(size)
    model.take_weights(translator(size))
    model.train().to(device)
    vectors = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": 1e-3},
        {"params": vectors},
    ]
    optimizer = torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))

    def step() -> float:
        clips = [
            (clip.permute(0, 3, 1, 2) / 255 - mean) / std
            for clip in torch.split(batch["frames"], lengths)
        ]
        frames = nn.utils.rnn.pad_sequence([clip.contiguous() for clip in clips], batch_first=True)
        places = torch.arange(frames.shape[1], device=device)
        mask = (places < batch["lengths"][:, None]).long()
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            logits = model(frames, mask, batch["labels"]).float()
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"].flatten(), label_smoothing=SMOOTHING
        )
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def matmul_rate(
    dtype: torch.dtype, size: int = 2048, num_runs: int = 10, device: str = "cpu"
) -> float:
    """Operations a second of a product of two square matrices, the best of some runs."""
    one, two = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(num_runs):
        wait_for(device)
        begin = time.perf_counter()
        one @ two
        wait_for(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def wait_for(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def cnn_multiplications(size: str = "paper") -> int:
    """Multiplications of the convolutions for one frame, forward."""
    counted = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        counted += output.numel() * module.weight[0].numel()

    encoder: Any = translator(size).encoder
    backbone = encoder.backbone
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        backbone(pixel_values=torch.zeros(1, 3, 224, 224))
    return counted


if __name__ == "__main__":
    main()
