"""What a GPU does with FLa-LLM at full size, and whether all is right there that CI cannot check.

    make gpu
    python benchmarks/gpu.py [--pairs 5] [--clips 240] [--page docs/results/gpu.md]

First the tests marked `gpu`. Then recipe `fla_llm` with random weights (ResNet-18, Light-T Base,
mBART-large's shape) on a stand-in of PHOENIX14T: a run of both stages as `unglossed train` does it,
and single steps against plain loops of the same models, in turns. The page is written when all is
done. Without CUDA nothing is done; `--device cpu --tiny` tries the script.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import as_trained  # noqa: F401 - before torch
import stage1
import torch
from gpu_page import Measured, Pair, Stage, page
from pairs import time_pairs
from stand_in import MEAN_FRAMES, NUM_TRAIN, lengths_of, write_stand_in
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import MBartConfig, MBartForConditionalGeneration

from unglossed.files import write_text
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.training.settings import StageSettings
from unglossed.training.train import train_recipe

ROOT = Path(__file__).parents[1]
CHECKS = (
    "the tests marked gpu: float32 and bfloat16 steps against a CPU's, dropout drawn alike, fused"
    " optimisers, processes that read into pinned memory, NCCL and FSDP2 with one process, int8"
    " beside a GPU, 4 bits where bitsandbytes is installed",
    "the card's own peak: products of large matrices in bfloat16",
    "the CNN alone: frames a second and its share of that peak",
    "a step of stage 1 and one of stage 2, against plain loops of the same models",
    "both stages of fla_llm, mBART-large's shape with random weights, on a stand-in of PHOENIX14T:"
    " time of a step, frames a second, memory, share of the time that waits for data",
    "the hours that 75 + 80 epochs of PHOENIX14T would take",
)
BATCHES = {"visual_initialing": 8, "llm_fine_tuning": 16}
EPOCHS = {"visual_initialing": 75, "llm_fine_tuning": 80}
FRAME_SHARE = 0.25
RATES = {"adapter": 1e-3, "language_model": 1e-5}


def main() -> None:
    """Check, measure, write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10, help="steps of each that are counted")
    parser.add_argument("--clips", type=int, default=240, help="of the stand-in's train split")
    parser.add_argument("--epochs", type=int, default=3, help="of each stage; the first warms up")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "gpu.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="to try the script")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        print("no GPU with CUDA was found: nothing is checked; with one it would be:")
        print("\n".join(f"- {check}" for check in CHECKS))
        return
    tests = "not run" if arguments.tiny else run_tests()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.device, Path(folder), tiny=arguments.tiny)
        measured = bench.measure(arguments.clips, arguments.epochs, arguments.pairs, tests)
    text = page(measured)
    write_text(arguments.page, text)
    print(text)


def run_tests() -> str:
    """Run the tests marked `gpu`; what pytest says of them at last.

    Raises:
        SystemExit: One fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr, sep="", flush=True)
    if done.returncode:
        raise SystemExit("a test marked gpu fails: nothing is measured")
    return done.stdout.splitlines()[-1].strip("= ")


class Bench:
    """What is measured on a device.

    Args:
        device: "cuda" or "cpu".
        folder: For corpus and run.
        tiny: Small models and pictures.
    """

    def __init__(self, device: str, folder: Path, *, tiny: bool) -> None:
        self.device, self.folder, self.tiny = device, folder, tiny
        self.size = "small" if tiny else "paper"
        self.bfloat16 = device == "cuda" and torch.cuda.is_bf16_supported()
        self.precision = "bfloat16" if self.bfloat16 else "float32"
        mean = 4 if tiny else MEAN_FRAMES * FRAME_SHARE
        self.lengths = lengths_of(BATCHES["visual_initialing"], mean)
        self.lengths2 = lengths_of(BATCHES["llm_fine_tuning"], mean)
        self.mbart = {
            "model_type": "mbart",
            "d_model": 16 if tiny else 1024,
            "max_position_embeddings": 512 if tiny else 1024,
            "scale_embedding": True,
            "activation_function": "gelu",
        }
        for side in ("encoder", "decoder"):
            self.mbart[f"{side}_layers"] = 1 if tiny else 12
            self.mbart[f"{side}_attention_heads"] = 2 if tiny else 16
            self.mbart[f"{side}_ffn_dim"] = 32 if tiny else 4096

    def measure(self, num_clips: int, epochs: int, pairs: int, tests: str) -> Measured:
        """Everything."""
        dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        peak = stage1.matmul_rate(dtype, 256 if self.tiny else 8192, device=self.device)
        cnn = self.cnn_rate(pairs)
        first = self.compare(
            stage1.baseline_step(self.lengths, self.size, self.device, bfloat16=self.bfloat16),
            stage1.our_step(self.lengths, self.size, self.precision),
            pairs,
        )
        second = self.compare(self.plain_stage2(), self.our_stage2(), pairs)
        stages = self.train(num_clips, epochs)
        return Measured(
            card=torch.cuda.get_device_name() if self.device == "cuda" else "a CPU",
            driver=driver() if self.device == "cuda" else "none",
            torch=str(torch.__version__),
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            command=f"python benchmarks/{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
            precision=self.precision,
            tests=tests,
            matmul_flops=peak,
            cnn_frames=cnn,
            frame_flops=6.0 * stage1.cnn_multiplications(self.size),
            steps={"visual_initialing": first, "llm_fine_tuning": second},
            stages=stages,
            epochs=EPOCHS,
            batches=BATCHES,
            train_clips=NUM_TRAIN,
            kept_frames=MEAN_FRAMES * FRAME_SHARE,
            cores=len(os.sched_getaffinity(0)),
        )

    def compare(self, baseline: Callable[[], float], ours: Callable[[], float], pairs: int) -> Pair:
        """Losses of a first step, then times in turns; a step ends when its loss is known."""
        losses = baseline(), ours()
        ratio = time_pairs(baseline, ours, pairs)
        apart = abs(losses[0] - losses[1]) / abs(losses[0])
        return Pair(ratio.baseline_seconds, ratio.seconds, ratio.median, apart)

    def cnn_rate(self, runs: int) -> float:
        """Frames a second of the CNN alone, forward and backward, as stage 1 trains it."""
        encoder: Any = stage1.translator(self.size).encoder.to(self.device).train()
        frames = stage1.batch_of(self.lengths, self.size)["frames"].to(self.device)
        seconds = []
        for _ in range(runs + 2):
            stage1.wait_for(self.device)
            begin = time.perf_counter()
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                encoder.pooled(frames).float().sum().backward()
            stage1.wait_for(self.device)
            seconds.append(time.perf_counter() - begin)
        return len(frames) / statistics.median(seconds[2:])

    def translator2(self) -> Translator:
        """The model of stage 2; nothing is dropped, so that losses agree."""
        off = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
        config = MBartConfig(
            **{key: value for key, value in self.mbart.items() if key != "model_type"},
            **off,
            vocab_size=stage1.NUM_WORDS,
            decoder_start_token_id=stage1.START,
            pad_token_id=1,
        )
        encoder = stage1.translator("small").config.encoder
        torch.manual_seed(0)
        return Translator(
            TranslatorConfig(
                encoder=encoder,
                adapter={"hidden_dim": 512, "dropout": 0.0},
                language_model=config.to_dict(),
            )
        )

    def batch2(self) -> dict[str, Tensor]:
        """Features of 16 clips and their texts."""
        draw = torch.Generator().manual_seed(0)
        time_ = max(self.lengths2)
        labels = (len(self.lengths2), stage1.TEXT_LENGTH)
        return {
            "features": torch.randn(len(self.lengths2), time_, 512, generator=draw),
            "mask": torch.arange(time_) < torch.tensor(self.lengths2)[:, None],
            "labels": torch.randint(4, stage1.NUM_WORDS, labels, generator=draw),
        }

    def our_stage2(self) -> Callable[[], float]:
        """A step of stage 2 as the project's trainer does it."""
        stage = StageSettings.model_validate(
            {
                "name": "llm_fine_tuning",
                **{part: {} for part in ("encoder", *RATES)},
                "frozen": ["encoder"],
                "learning_rates": RATES,
                "optimizer": {"name": "adam"},
                "batch_size": len(self.lengths2),
                "epochs": 1,
                "label_smoothing": stage1.SMOOTHING,
                "precision": self.precision,
            }
        )
        model = self.translator2()
        model.freeze(stage.frozen)
        return stage1.trainers_step(stage, model, self.batch2())

    def plain_stage2(self) -> Callable[[], float]:
        """A step of stage 2 as one would write it first."""
        model = self.translator2()
        adapter, writer = model.adapter.to(self.device), model.language_model.model.to(self.device)
        assert isinstance(writer, MBartForConditionalGeneration)
        adapter.train()
        writer.train()
        optimizer = torch.optim.Adam(
            [
                {"params": list(adapter.parameters()), "lr": RATES["adapter"]},
                {"params": list(writer.parameters()), "lr": RATES["language_model"]},
            ]
        )
        batch = {name: values.to(self.device) for name, values in self.batch2().items()}

        def step() -> float:
            optimizer.zero_grad()
            words = nn.functional.pad(batch["labels"][:, :-1], (1, 0), value=stage1.START)
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                hidden = nn.functional.gelu(adapter.hidden(batch["features"]))
                logits = writer(
                    inputs_embeds=adapter.output(hidden),
                    attention_mask=batch["mask"].long(),
                    decoder_input_ids=words,
                ).logits
            loss = nn.functional.cross_entropy(
                logits.float().flatten(0, 1),
                batch["labels"].flatten(),
                label_smoothing=stage1.SMOOTHING,
            )
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def train(self, num_clips: int, epochs: int) -> dict[str, Stage]:
        """Both stages as `unglossed train` trains them; what each took."""
        corpus = write_stand_in(self.folder / "corpus", num_clips, 16, tiny=self.tiny)
        clock = Clock(self.device, [-(-num_clips // size) for size in BATCHES.values()])
        run = self.folder / "run"
        hook = register_optimizer_step_post_hook(clock.note)
        try:
            train_recipe("fla_llm", corpus, run, overrides=self.changes(epochs))
        finally:
            hook.remove()
        found = {}
        for number, (name, stage) in enumerate(zip(BATCHES, clock.stages, strict=True), start=1):
            waited = last_scalar(run / f"{number}-{name}" / "tensorboard", "train/data_wait")
            found[name] = Stage(stage.seconds(), stage.peak / 1e9, waited)
        return found

    def changes(self, epochs: int) -> list[str]:
        """What the run changes of the recipe: no weights of a hub, fewer epochs."""
        backbone, _ = stage1.parts(self.size)
        first, second = (f"stages.{name}" for name in BATCHES)
        changes = [
            "tokenizer={vocab_size: 2429}",
            f"{first}.encoder.config.backbone={json.dumps(backbone)}",
            f"{second}.language_model={{config: {json.dumps(self.mbart)}}}",
            f"{second}.feature_views=2",
        ]
        for stage in (first, second):
            changes += [f"{stage}.epochs={epochs}", f"{stage}.precision={self.precision}"]
            changes.append(f"{stage}.optimizer.in_backward=false")
        if self.tiny:
            light_t = {"layers": 1, "heads": 2, "width": 16, "ffn_dim": 32}
            changes += ["video.resize=36", "video.crop=32", "decoding.max_new_tokens=4"]
            changes += [f"{first}.language_model.config.light_t={json.dumps(light_t)}"]
            changes += ["num_workers=0"]
        return changes


class Steps:
    """When the steps of a stage ended, and how much memory they had at most."""

    def __init__(self, per_epoch: int) -> None:
        self.per_epoch = per_epoch
        self.ends: list[float] = []
        self.peak = 0

    def seconds(self) -> float:
        """Median over all epochs but the first of the time of a step within it."""
        size = self.per_epoch
        starts = range(size, len(self.ends) - size + 1, size)
        means = [(self.ends[one + size - 1] - self.ends[one]) / (size - 1) for one in starts]
        return statistics.median(means)


class Clock:
    """Notes when steps end; a GPU is waited for at the first and the last step of an epoch.

    Args:
        device: Where it trains.
        per_epoch: Steps of an epoch, of each stage.
    """

    def __init__(self, device: str, per_epoch: Sequence[int]) -> None:
        self.device = device
        self._per_epoch = list(per_epoch)
        self._optimizer: Any = None
        self.stages: list[Steps] = []

    def note(self, optimizer: Any, *_: Any) -> None:
        """Note a step; each stage has an optimiser of its own."""
        if optimizer is not self._optimizer:
            self._optimizer = optimizer
            self.stages.append(Steps(self._per_epoch[len(self.stages)]))
            if self.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
        stage = self.stages[-1]
        if len(stage.ends) % stage.per_epoch in (0, stage.per_epoch - 1):
            stage1.wait_for(self.device)
        stage.ends.append(time.perf_counter())
        if self.device == "cuda":
            stage.peak = torch.cuda.max_memory_allocated()


def last_scalar(folder: Path, tag: str) -> float:
    """The last value of a scalar in TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return float(events.Scalars(tag)[-1].value)


def driver() -> str:
    """Version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.split("\n")[0].strip()


if __name__ == "__main__":
    main()
