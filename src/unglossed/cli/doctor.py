"""What this machine has, and what would be missing for what. Looks only; changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    ("transformers", "models and their text generation"),
    ("accelerate", "training"),
    ("sentencepiece", "the tokenizers of mBART and mT5"),
    ("opencv-python-headless", "reading, resizing and drawing frames"),
    ("av", "reading and writing video files"),
    ("pysubs2", "writing captions: .srt and .vtt"),
    ("pympi-ling", "annotations of ELAN, .eaf"),
    ("ftfy", "finding damaged text in a corpus"),
    ("matplotlib", "histograms of a corpus"),
    ("sacrebleu", "scores"),
    ("tensorboard", "learning curves while training"),
)
"""Distributions that are needed, and for what. torch has a line of its own."""

EXTRAS = (
    ("pyarrow", "parquet", "own tables in Parquet files"),
    ("espeakng-loader", "espeak", "speech of the generated corpus"),
    ("gguf", "gguf", "language models in GGUF files"),
    ("bitsandbytes", "quantization", "language models with weights of 4 or 8 bits"),
)
"""Distributions that only some work needs, the extra that brings each, and for what."""

DECODERS = ("h264", "hevc", "vp8", "vp9", "av1")
ENCODERS = ("libx264",)
WANTED_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: `works` is False where something is missing."""

    subject: str
    works: bool
    text: str


def examine() -> list[Finding]:
    """Look at Python, packages, processor, memory, accelerators, codecs and disk."""
    return [
        Finding("python", True, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        *(_package(name, purpose) for name, purpose in PACKAGES),
        *(_extra(name, extra, purpose) for name, extra, purpose in EXTRAS),
        *_torch(),
        *_codecs(),
        _disk(),
    ]


def _package(name: str, purpose: str) -> Finding:
    try:
        return Finding(name, True, f"{version(name)}: {purpose}")
    except PackageNotFoundError:
        return Finding(name, False, f"not installed: {purpose} cannot work; pip install {name}")


def _extra(name: str, extra: str, purpose: str) -> Finding:
    finding = _package(name, purpose)
    if finding.works:
        return finding
    return Finding(name, True, f"not installed: for {purpose}; pip install 'unglossed[{extra}]'")


def _torch() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding("torch", False, f"cannot be imported ({error}): pip install torch")]
    threads = f"threads: {torch.get_num_threads()}, cores: {os.cpu_count()}"
    findings = [
        Finding("torch", True, str(torch.__version__)),
        Finding("cpu", True, f"{torch.backends.cpu.get_cpu_capability()}, {threads}"),
        Finding("bfloat16", True, _bfloat16(torch.cpu)),
    ]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        findings.append(Finding("gpu", True, ", ".join(names)))
    elif torch.backends.mps.is_available():
        findings.append(Finding("gpu", True, "Apple MPS"))
    else:
        findings.append(Finding("gpu", True, "none: everything runs on the CPU"))
    return findings


def _bfloat16(cpu: object) -> str:
    # torch tells in public since 2.11; before, nothing but a trial would.
    capabilities: dict[str, Any] = getattr(cpu, "get_capabilities", dict)()
    units = [
        unit for unit in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16") if capabilities.get(unit)
    ]
    if units:
        return f"in hardware ({', '.join(units)}): training in half precision is the faster way"
    if capabilities:
        return "not in hardware: training in float32 is the faster way"
    return "not known with this version of torch"


def _codecs() -> list[Finding]:
    try:
        import av
        from av.codec import Codec
    except ImportError as error:
        return [Finding("video codecs", False, f"PyAV cannot be imported ({error})")]

    def works(name: str, mode: str) -> bool:
        try:
            Codec(name, mode)
        except av.error.FFmpegError:
            return False
        return True

    unread = [name for name in DECODERS if not works(name, "r")]
    unwritten = [name for name in ENCODERS if not works(name, "w")]
    reading = f"reads {', '.join(name for name in DECODERS if name not in unread)}"
    missing = f"; does not read {', '.join(unread)}" if unread else ""
    writing = "; cannot write H.264: `synth --media mp4` needs it" if unwritten else "; writes h264"
    return [Finding("video codecs", not (unread or unwritten), reading + missing + writing)]


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    text = f"{free:.1f} GiB free in this folder"
    if free < WANTED_GIB:
        return Finding("disk", False, f"{text}: the demo writes up to {WANTED_GIB:.0f} GiB")
    return Finding("disk", True, text)
