"""The verbs beside training and translating: synth, trim, export, doctor."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from unglossed.cli.common import (
    FAULTS_FOUND,
    AsJson,
    ModelName,
    given,
    quick_imports,
    show,
    silence_loading,
)
from unglossed.cli.translate import Beams, Choice, MaxNewTokens
from unglossed.errors import InputError

Language = StrEnum("Language", ["de", "en", "zh"])
Layout = StrEnum(
    "Layout",
    "phoenix14t csl_daily how2sign openasl folder must_c broadcast youtube_sl_25"
    " csl_news bobsl wmt_slt dgs hub",
)
MediaKind = StrEnum("MediaKind", ["png", "jpg", "mp4", "wav"])


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write the corpus to.")],
    sentences: Annotated[
        int, typer.Option(min=1, help="Number of clips over all splits, at least 4.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Pixels of a frame, from 16x16; mp4 needs even ones.")
    ] = "210x260",
    level: Annotated[
        int, typer.Option(min=1, max=3, help="Part of the grammar: 1 is small, 3 is all of it.")
    ] = 3,
    language: Annotated[
        Language | None, typer.Option(help="Language of the text; the layout's own by default.")
    ] = None,
    layout: Annotated[Layout, typer.Option(help="Corpus whose layout to write.")] = (
        Layout.phoenix14t
    ),
    media: Annotated[
        MediaKind | None,
        typer.Option(help="Frame folders, video or audio files; the layout's own by default."),
    ] = None,
    recording_sentences: Annotated[
        int | None,
        typer.Option(
            min=1, help="Sentences of a recording at most, with broadcast; 20 by default."
        ),
    ] = None,
    boxes: Annotated[
        bool,
        typer.Option(
            "--boxes", help="Also write where hands and face are, for evaluate --corrupt."
        ),
    ] = False,
    all_languages: Annotated[
        bool,
        typer.Option(
            "--all-languages",
            help="Also write languages.jsonl, a table of the clips with texts in en, de and zh.",
        ),
    ] = False,
    landmarks: Annotated[
        bool,
        typer.Option("--landmarks", help="Also write joints and points of the face, exactly."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw; as many as cores by default.")
    ] = None,
) -> None:
    """Generate a corpus of drawn signing, or of speech, with its sentences."""
    from unglossed_synth.corpus import write_corpus
    from unglossed_synth.layouts import LAYOUTS

    width, cross, height = size.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size: found {size!r}, expected WxH in pixels such as 210x260")
    write_corpus(
        out,
        sentences,
        seed,
        width=int(width),
        height=int(height),
        level=level,
        language=language and language.value,
        layout=layout.value,
        media=media and media.value,
        recording_sentences=recording_sentences,
        boxes=boxes,
        landmarks=landmarks,
        num_workers=workers,
        progress=True,
    )
    kind = LAYOUTS[layout.value].reader or layout.value
    print(f"{kind}:{out}")
    if all_languages:
        from unglossed_synth.tables import write_table

        write_table(out, out / "languages.jsonl", [*Language], kind)
        print(f"table:{out / 'languages.jsonl'}?language=*")


def trim(
    model: Annotated[str, typer.Argument(help="Language model: folder or hub name.")],
    text: Annotated[str, typer.Option(metavar="SPEC", help="Corpus whose train texts to keep.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the model to.")],
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Text file whose lines' tokens stay as well, such as prompts."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cut a language model's vocabulary to what the training text needs, and prove it harmless."""
    from unglossed.corpora.reading import Reading, read_lines
    from unglossed.corpora.registry import read_corpus
    from unglossed.trimming.trim import trim_model

    silence_loading()
    kept = (
        []
        if keep is None
        else [line for _, line in read_lines(Reading(str(keep), keep), keep) if line.strip()]
    )
    texts = [sample.text for sample in read_corpus(text, only="train").split("train")]
    show(trim_model(model, texts, output, kept_texts=kept), as_json)


def calibrate(
    model: ModelName,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Corpus, as phoenix14t:/data/PT; needed but for --undo."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split that the model was not trained on, and is not tested on.")
    ] = "dev",
    least_chrf: Annotated[
        float, typer.Option(help="A sentence is good from this chrF with its reference on.")
    ] = 50.0,
    coverage: Annotated[
        float, typer.Option(help="Share of the split's clips that keep their sentence, at least.")
    ] = 0.98,
    most_clips: Annotated[
        int, typer.Option(help="Take so many clips of the split at most, drawn at random.")
    ] = 500,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at a time.")] = 8,
    beams: Beams = None,
    max_new_tokens: MaxNewTokens = None,
    choice: Choice = None,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Take the confidence away from the model instead."),
    ] = False,
) -> None:
    """Calibrate a model's confidence on dev, and choose below which it gives no sentence.

    Written into the model's folder, from where translate, evaluate and serve take it.
    """
    with quick_imports():
        from unglossed.evaluation.calibration import calibrate as calibrate_model
        from unglossed.evaluation.calibration import undo_calibration

    if undo:
        if corpus is not None:
            raise InputError(f"--undo: found --corpus {corpus} beside it, expected one of both")
        print(f"removed {undo_calibration(model)}")
        return
    if corpus is None:
        raise InputError("--corpus: not given, expected a corpus to calibrate on, or --undo")
    silence_loading()
    made = calibrate_model(
        model,
        corpus,
        split=split,
        least_chrf=least_chrf,
        coverage=coverage,
        most_clips=most_clips,
        batch_size=batch_size,
        progress=sys.stderr.isatty(),
        **given(beams=beams, max_new_tokens=max_new_tokens, choice=choice and choice.value),
    )
    print(made)


def export(
    model: ModelName,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write encoder.onnx to.")
    ] = None,
    web: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder to write a page to that translates in the browser."
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --web: folder that holds onnxruntime-web; npm brings it by default.",
        ),
    ] = None,
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With --web: the sign language, signers and subjects of training, for the page.",
        ),
    ] = None,
    webgpu: Annotated[
        bool,
        typer.Option(
            "--webgpu",
            help="With --web: read frames with WebGPU where it computes the same, 27 MB more.",
        ),
    ] = False,
) -> None:
    """Write a model as ONNX, checked against it: encoder and adapter, or all of it in a page."""
    if output is None and web is None:
        raise InputError("expected --output DIR for encoder and adapter, or --web DIR for a page")
    if web is None and (runtime is not None or trained_on is not None or webgpu):
        raise InputError("--runtime, --trained-on and --webgpu: found no --web, expected it, too")
    silence_loading()
    if output is not None:
        from unglossed.inference.export import export_encoder

        difference = export_encoder(model, output)
        print(
            f"{output}: onnxruntime's numbers differ from the model's by {difference:.0e} at most"
        )
    if web is not None:
        from unglossed.inference.web.export import export_web

        made = export_web(model, web, runtime=runtime, trained_on=trained_on, webgpu=webgpu)
        megabytes = f"{made.model_bytes / 1e6:.1f} MB and {made.runtime_bytes / 1e6:.1f} MB"
        print(
            f"{web}: a page of {megabytes} of runtime; onnxruntime's numbers differ from the"
            f" model's by {made.difference:.0e} at most"
        )
        folder = shlex.quote(str(web))
        print(f"to try it: python -m http.server --directory {folder} --bind 127.0.0.1 8000")


def doctor() -> None:
    """Show what this machine has, and what would be missing for what."""
    findings = [
        Finding("python", True, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        *(_package(*package) for package in _PACKAGES),
        *(_package(name, purpose, extra) for name, extra, purpose in _EXTRAS),
        *_torch(),
        *_encoder(),
        _codecs(),
        _disk(),
    ]
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.works else "MISSING"
        print(f"{mark}  {finding.subject:{width}}  {finding.text}")
    if not all(finding.works for finding in findings):
        raise typer.Exit(FAULTS_FOUND)


class Finding(NamedTuple):
    """One line of the doctor: `works` is False where something is missing."""

    subject: str
    works: bool
    text: str


# Distributions that are needed, and for what. torch has a line of its own.
_PACKAGES = (
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
# Distributions that only some work needs, the extra that brings each, and for what.
_EXTRAS = (
    ("pyarrow", "parquet", "own tables in Parquet files"),
    ("espeakng-loader", "espeak", "speech of the generated corpus"),
    ("gguf", "gguf", "language models in GGUF files"),
    ("openvino", "openvino", "frozen encoders on a CPU, several times as fast"),
    ("onnx", "onnx", "`unglossed export --web`: pages that translate without a server"),
    ("fastapi", "server", "`unglossed serve`: the page, live captions and the API"),
    ("bitsandbytes", "quantization", "language models with weights of 4 bits"),
)
_DECODERS = ("h264", "hevc", "vp8", "vp9", "av1")
_ENCODER = "libx264"
_WANTED_GIB = 2.0
_CLEARLY = 1.15  # times as fast that an engine must be to be recommended: a busy machine varies


def _package(name: str, purpose: str, extra: str = "") -> Finding:
    try:
        return Finding(name, True, f"{version(name)}: {purpose}")
    except PackageNotFoundError:
        if extra:
            told = f"not installed: for {purpose}; pip install 'unglossed[{extra}]'"
            return Finding(name, True, told)
        return Finding(name, False, f"not installed: {purpose} cannot work; pip install {name}")


def _torch() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding("torch", False, f"cannot be imported ({error}): pip install torch")]
    threads = f"threads: {torch.get_num_threads()}, cores: {os.cpu_count()}"
    gpu = "none: everything runs on the CPU"
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        gpu = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    elif torch.backends.mps.is_available():
        gpu = "Apple MPS, which is not used: everything runs on the CPU"
    return [
        Finding("torch", True, str(torch.__version__)),
        Finding("cpu", True, f"{torch.backends.cpu.get_cpu_capability()}, {threads}"),
        Finding("bfloat16", True, _bfloat16(torch.cpu)),
        Finding("gpu", True, gpu),
    ]


def _bfloat16(cpu: object) -> str:
    # torch tells in public since 2.11; before, only a trial would.
    capabilities: dict[str, Any] = getattr(cpu, "get_capabilities", dict)()
    names = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
    if units := [name for name in names if capabilities.get(name)]:
        return f"in hardware ({', '.join(units)}): training in half precision is the faster way"
    if capabilities:
        return "not in hardware: training in float32 is the faster way"
    return "not known with this version of torch"


def _encoder() -> list[Finding]:
    try:
        import torch

        from unglossed.models.encoder import build_encoder
    except ImportError:  # said already
        return []
    from unglossed.models.frozen import (
        TIMED,
        VARIABLE,
        engine_for,
        engine_of,
        fast_encoder,
        frames_per_second,
        installed_engines,
    )
    from unglossed.training.features import use_bfloat16

    silence_loading()
    on_gpu, bfloat16 = torch.cuda.is_available(), use_bfloat16("auto")
    encoder = build_encoder(TIMED).eval().to("cuda" if on_gpu else "cpu")
    try:
        used = engine_of(fast_encoder(encoder, bfloat16=bfloat16))
        speeds = {}
        for engine in installed_engines():
            if engine_for(encoder, engine) is engine:
                form = fast_encoder(encoder, bfloat16=bfloat16, wanted=engine)
                speeds[engine_of(form)] = frames_per_second(form, bfloat16=bfloat16)
    except InputError as error:
        return [Finding("encoder", False, str(error))]
    told = f"{used} in {'bfloat16' if bfloat16 else 'float32'}: {speeds[used]:,.0f} frames"
    told += " a second of a frozen ResNet-18 at 224 x 224"
    others = [f"{engine}: {speed:,.0f}" for engine, speed in speeds.items() if engine is not used]
    told += f"; {', '.join(others)}" if others else ""
    fastest = max(speeds, key=lambda engine: speeds[engine])
    if speeds[fastest] > _CLEARLY * speeds[used]:
        told += f". Faster here: {VARIABLE}={fastest}"
    return [Finding("encoder", True, told)]


def _codecs() -> Finding:
    try:
        import av
        from av.codec import Codec
    except ImportError as error:
        return Finding("video codecs", False, f"PyAV cannot be imported ({error})")

    def works(name: str, mode: str) -> bool:
        try:
            Codec(name, mode)
        except av.error.FFmpegError:
            return False
        return True

    read = [name for name in _DECODERS if works(name, "r")]
    unread = [name for name in _DECODERS if name not in read]
    writes = works(_ENCODER, "w")
    told = f"reads {', '.join(read)}" + (f"; does not read {', '.join(unread)}" if unread else "")
    told += "; writes h264" if writes else "; cannot write H.264: `synth --media mp4` needs it"
    return Finding("video codecs", writes and not unread, told)


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    is_enough = free >= _WANTED_GIB
    need = "" if is_enough else f": the demo writes up to {_WANTED_GIB:.0f} GiB"
    return Finding("disk", is_enough, f"{free:.1f} GiB free in this folder{need}")
