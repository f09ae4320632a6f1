"""A frozen encoder's frames a second: each fast form against torch as it is trained.

    python benchmarks/encoder.py [--precision float32] [--frames 29] [--pairs 9] [--small]
    python benchmarks/encoder.py --threads 1 --cpu-time      # on a machine that does much else

FLa-LLM's encoder, a ResNet-18 at 224 x 224 with its temporal module, random weights, one clip at a
time. The baseline is torch's own way, channels last, in bfloat16 by autocast. In each pair both
encode the same clip; an engine that is not installed is left out.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import torch
from pairs import time_pairs
from torch import Tensor

from unglossed.models.encoder import Encoder, build_encoder
from unglossed.models.frozen import TIMED, engine_of, fast_encoder, installed_engines
from unglossed.training.features import use_bfloat16

SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 32]}


def main() -> None:
    """Time each engine that is installed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--precision", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--frames", type=int, default=29, help="frames of the clip")
    parser.add_argument("--pairs", type=int, default=9, help="times that both are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of the CPU")
    parser.add_argument("--small", action="store_true", help="a small model: a test of the script")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    bfloat16 = use_bfloat16(chosen.precision)
    backbone = TIMED["backbone"] | (SMALL if chosen.small else {})
    encoder = build_encoder({**TIMED, "backbone": backbone}).eval().requires_grad_(False)
    side = 32 if chosen.small else 224
    frames = torch.randint(0, 256, (chosen.frames, side, side, 3), dtype=torch.uint8)
    precision = "bfloat16" if bfloat16 else "float32"
    print(f"{processor()}, {chosen.threads} threads, {precision}, clips of {len(frames)} frames")
    exact = encode(encoder, frames, bfloat16=False)
    told = away(encode(encoder, frames, bfloat16=bfloat16), exact)
    print(f"torch: features {told:.1e} of the largest away from float32")
    for engine in installed_engines()[1:]:
        form = fast_encoder(encoder, bfloat16=bfloat16, frames=frames, wanted=engine)
        compare(encoder, form, frames, exact, chosen, bfloat16=bfloat16)


def compare(
    encoder: Encoder,
    form: Encoder,
    frames: Tensor,
    exact: Tensor,
    chosen: argparse.Namespace,
    *,
    bfloat16: bool,
) -> None:
    """Time a fast form against its encoder, and print it."""
    ratio = time_pairs(
        lambda: encode(encoder, frames, bfloat16=bfloat16),
        lambda: encode(form, frames, bfloat16=bfloat16),
        chosen.pairs,
        time.process_time if chosen.cpu_time else time.perf_counter,
    )
    speeds = (len(frames) / one for one in (ratio.seconds, ratio.baseline_seconds))
    engine, told = engine_of(form), away(encode(form, frames, bfloat16=bfloat16), exact)
    print(f"{engine}: {next(speeds):.0f} frames/s, torch {next(speeds):.0f}: {ratio}")
    print(f"{engine}: features {told:.1e} of the largest away from float32")


@torch.inference_mode()
def encode(encoder: Encoder, frames: Tensor, *, bfloat16: bool) -> Tensor:
    """Features (1, time, dim) of one clip."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        return encoder(frames, torch.tensor([len(frames)]))[0].float()


def away(found: Tensor, exact: Tensor) -> float:
    """Largest difference, as a share of the largest number."""
    return float((found - exact).abs().max() / exact.abs().max())


def processor() -> str:
    """Name of the CPU, where Linux tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
