"""Export of a trained model as a static page: video in, text out, and nothing leaves the device.

The folder holds `index.html` with its scripts, `model/` (three networks, the tokens, a manifest)
and `runtime/` (onnxruntime-web). Any web server that hands files out serves it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unglossed import __version__
from unglossed.errors import InputError, note
from unglossed.files import check_new_folder, whole_folder, write_text
from unglossed.inference.export import check_packages, write_network
from unglossed.inference.limits import text_limit
from unglossed.inference.precision import quantize
from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.translator import SignTranslator
from unglossed.inference.web.parts import (
    ClipReader,
    FrameReader,
    PortableInt8Linear,
    TextWriter,
    empty_cache,
)
from unglossed.inference.web.runtime import VERSION, copy_runtime
from unglossed.inference.web.tokens import token_bytes
from unglossed.media.frames import FRAME_RATE
from unglossed.models.about import read_about

NETWORKS = ("frames.onnx", "clip.onnx", "text.onnx")
EXACT = 1e-4
"""Most difference of the backbone, as a share of the largest number; measured: 8e-7."""
ROUNDED = 0.05
"""The same where activations are rounded to 8 bits: a sum in another order tips a rounding now and
then. Measured: 0.012; two inputs that are taken for one make it more than 0.5."""
_PROBE_FRAMES = 4
_PROBED = 16
"""Numbers of a vector, and likeliest tokens, that a page compares when it starts."""

_UNKNOWN_TO_THE_PAGE = (
    *("repetition_penalty", "no_repeat_ngram_size", "encoder_repetition_penalty"),
    *("encoder_no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens"),
    *("suppress_tokens", "begin_suppress_tokens", "sequence_bias", "stop_strings"),
    *("exponential_decay_length_penalty", "num_beam_groups", "guidance_scale", "penalty_alpha"),
)
_CHANGES_NOTHING: tuple[Any, ...] = (None, 0, 1, [], ())


@dataclass(frozen=True)
class WebExport:
    """What was written.

    Attributes:
        model_bytes: Of all files but those of the runtime.
        runtime_bytes: Of onnxruntime-web's files.
        difference: Of the networks from torch, as a share of the largest number.
    """

    model_bytes: int
    runtime_bytes: int
    difference: float


def export_web(
    model: str | Path,
    output: Path,
    *,
    runtime: Path | None = None,
    trained_on: str | None = None,
    webgpu: bool = False,
) -> WebExport:
    """Write a model as a page that translates in the browser, each network checked against torch.

    Args:
        model: see `SignTranslator.from_pretrained`; with a visual encoder and an encoder-decoder.
        output: folder to write to, new or empty.
        runtime: see `copy_runtime`.
        trained_on: what the page says that the model was trained on; None: what its card says.
        webgpu: let the page read frames with WebGPU where that computes the same numbers.

    Raises:
        InputError: there is something in the folder; the model cannot be loaded or is of another
            kind; its settings of generation or its tokenizer are none that the page has; the
            runtime is not to be had; or a network does not compute what the model does.
    """
    check_new_folder(output)
    check_packages()
    translator = SignTranslator.from_pretrained(model)
    with whole_folder(output) as folder:
        copy_runtime(runtime, folder / "runtime", webgpu=webgpu)
        with as_file(files("unglossed.inference.web") / "page") as page:
            shutil.copytree(page, folder, dirs_exist_ok=True)
        training = told_training(model, trained_on)
        told = {"trained_on": training, "runtime": {"version": VERSION, "webgpu": webgpu}}
        try:
            with translator.model.language_model.writing(translator.decoding.to):
                difference = write_model(translator, folder / "model", told)
        except InputError as error:
            raise InputError(f"{model}: {error}") from None
        sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        of_runtime = sum(size for path, size in sizes.items() if path.parent.name == "runtime")
    return WebExport(sum(sizes.values()) - of_runtime, of_runtime, difference)


def told_training(model: str | Path, given: str | None) -> str | None:
    """What the page says that a model was trained on: what is given, or else what its card says."""
    return given or " ".join(read_about(model)).rstrip(".") or None


def write_model(translator: SignTranslator, folder: Path, told: Mapping[str, Any]) -> float:
    """Write what the page reads of a model: three networks, the tokens and the manifest.

    Args:
        translator: in float32, whose language model is changed to 8 bits.
        folder: new.
        told: further fields of the manifest.

    Returns:
        How far onnxruntime's numbers are from torch's at most, as a share of the largest.

    Raises:
        InputError: see `export_web`.
    """
    network, processor = translator.model.cpu(), translator.processor
    language = processor.check_language(translator.decoding.to)
    if len(processor.languages) > 1:
        note(f"the page writes {language} alone, of the model's {', '.join(processor.languages)}")
    parts = FrameReader(network).eval(), ClipReader(network).eval(), TextWriter(network).eval()
    search = _search(translator)
    tokens = token_bytes(processor)
    quantize(network.language_model.model, PortableInt8Linear)
    folder.mkdir()
    with torch.no_grad():
        for one in parts[1](parts[0](_frames(parts, _PROBE_FRAMES, processor.crop))):
            _check_numbers(one)  # before tens of seconds go into the files
        _write_networks(parts, processor.crop, folder)
        difference, probe = _check(parts, processor.crop, search["start"], folder)
    texts = [one.decode("latin-1") for one in tokens]  # a letter a byte
    write_text(folder / "tokens.json", json.dumps(texts))
    content = {
        "version": __version__,
        "files": {name: (folder / name).stat().st_size for name in (*NETWORKS, "tokens.json")},
        "language": language,
        "trained_seconds": processor.trained_seconds,
        "frame_share": processor.frame_share,
        "resize": processor.resize,
        "crop": processor.crop,
        "longest_frames": _longest(translator),
        "search": search,
        "motion": parts[0].encoder.motion,
        "probe": probe,
        **told,
    }
    write_text(folder / "manifest.json", json.dumps(content, indent=1) + "\n")
    return difference


def _longest(translator: SignTranslator) -> int:
    """Kept frames of one sentence at most: a longer recording is cut into several."""
    rate = FRAME_RATE * translator.processor.frame_share
    return max(2, int(SentenceTranslator(translator).longest_seconds * rate))


def _search(translator: SignTranslator) -> dict[str, Any]:
    """How the page searches for a text: the recipe's decoding and the model's own settings."""
    decoding, writer = translator.decoding, translator.model.language_model
    config = writer.model.generation_config
    for name in _UNKNOWN_TO_THE_PAGE:
        value = getattr(config, name, None)
        if value not in _CHANGES_NOTHING:
            raise InputError(
                f"generation_config.json, {name}: found {value!r}, which a page does not know,"
                " expected none"
            )
    if decoding.sample:
        note("the page searches for the likeliest text; this model's recipe draws its texts")
    if decoding.language_contrast:
        note("the page searches without language contrast, which this model's recipe has")
    if decoding.no_repeat_ngram_size:
        note("the page lets runs of tokens stand twice, which this model's recipe does not")
    if decoding.choice != "best":
        note(f"the page takes the best text; this model's recipe takes that by {decoding.choice}")
    if translator.beside.confidence is not None:
        note("the page gives every text, however small the confidence; this model is calibrated")
    ends = config.eos_token_id
    room = text_limit(translator.model, 1)
    most = decoding.max_new_tokens
    return {
        "start": writer._start_ids(),
        "end": [] if ends is None else list(ends) if isinstance(ends, list | tuple) else [ends],
        "beams": 1 if decoding.sample else decoding.beams,
        "max_new_tokens": most if room is None else min(most, room),
        "length_penalty": decoding.length_penalty,
        "early_stopping": config.early_stopping or False,
        "forced_begin": config.forced_bos_token_id,
        "forced_end": config.forced_eos_token_id,
    }


Parts = tuple[FrameReader, ClipReader, TextWriter]


def _write_networks(parts: Parts, side: int, folder: Path) -> None:
    """Write the three networks; sizes of the examples all differ, and none is 0 or 1."""
    frames, clip, text = parts
    names = ("frames", "time", "rows", "new", "before", "past", "positions")
    size = {name: torch.export.Dim(name) for name in names}
    pictures = _frames(parts, 5, side)
    write_network(
        frames,
        {"frames": pictures},
        folder / NETWORKS[0],
        {"frames": {0: size["frames"]}},
        outputs=["vectors"],
    )
    vectors = frames(pictures)
    cross = clip(vectors)
    numbers = range(len(cross))
    write_network(
        clip,
        {"vectors": vectors},
        folder / NETWORKS[1],
        {"vectors": {0: size["time"]}},
        outputs=[f"cross.{number}" for number in numbers],
    )
    heads, width = cross[0].shape[1], cross[0].shape[3]
    write_network(
        text,
        {
            "ids": torch.tensor([[1, 0], [0, 1], [1, 1]]),
            "order": torch.tensor([2, 0, 3]),
            "past": [torch.randn(4, heads, 5, width) for _ in numbers],
            "cross": [torch.randn(1, heads, 7, width) for _ in numbers],
        },
        folder / NETWORKS[2],
        {
            "ids": {0: size["rows"], 1: size["new"]},
            "order": {0: size["rows"]},
            "past": [{0: size["before"], 2: size["past"]}] * len(cross),
            "cross": [{2: size["positions"]}] * len(cross),
        },
        outputs=["scores", *(f"present.{number}" for number in numbers)],
        names=[
            *("ids", "order"),
            *(f"past.{number}" for number in numbers),
            *(f"cross.{number}" for number in numbers),
        ],
    )


def _pictures(count: int, side: int) -> Tensor:
    """Pictures that a page computes for itself: (count, side, side, 3) uint8."""
    number, row, column, colour = np.ogrid[:count, :side, :side, :3]
    values = 17 * number + 5 * row + 3 * column + 40 * colour
    return torch.from_numpy((values % 256).astype(np.uint8))


def _frames(parts: Parts, count: int, side: int) -> Tensor:
    """What is given to the `FrameReader` for so many pictures: they begin a clip."""
    pictures = _pictures(count, side)
    return torch.cat([pictures[:1], pictures]) if parts[0].encoder.motion else pictures


def _check(
    parts: Parts, side: int, start: Sequence[int], folder: Path
) -> tuple[float, dict[str, Any]]:
    """Compare each file with torch, for several sizes; and what a page compares when it starts.

    Raises:
        InputError: one differs by more than it may.
    """
    import onnxruntime

    frames, clip, text = (
        _Checked(
            onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"]),
            part,
            name,
            most,
        )
        for name, part, most in zip(NETWORKS, parts, (EXACT, ROUNDED, ROUNDED), strict=True)
    )
    probe: dict[str, Any] = {}
    for count in (9, 2, _PROBE_FRAMES):
        (vectors,) = frames({"frames": _frames(parts, count, side)})
        cross = clip({"vectors": vectors})
        past, ids, order = empty_cache(cross), torch.tensor([list(start)]), torch.tensor([0])
        for step in range(4):
            scores, *past = text({"ids": ids, "order": order, "past": past, "cross": cross})
            if step == 0:
                likeliest = scores[0].topk(min(_PROBED, scores.shape[1]))
                probe = {
                    "frames": count,
                    "vectors": vectors[-1, :_PROBED].tolist(),
                    "tokens": likeliest.indices.tolist(),
                    "scores": likeliest.values.tolist(),
                }
            ids = scores[0].topk(3).indices[:, None]
            order = torch.tensor([0, 0, 0] if step == 0 else [1, 0, 1])
    return max(frames.worst, clip.worst, text.worst), probe


def _check_numbers(values: Tensor) -> None:
    if not values.isfinite().all():
        raise InputError(
            "the model computes NaN or infinite numbers: its weights are too large, or are no"
            " numbers"
        )


class _Checked:
    """A network as torch computes it, that remembers how far its file is from it at most."""

    def __init__(self, session: Any, part: nn.Module, name: str, most: float) -> None:
        self.session, self.part, self.name, self.most, self.worst = session, part, name, most, 0.0

    def __call__(self, inputs: Mapping[str, Any]) -> list[Tensor]:
        """Results of torch."""
        fed: dict[str, Any] = {}
        for name, value in inputs.items():
            if isinstance(value, list):
                fed |= {f"{name}.{number}": one.numpy() for number, one in enumerate(value)}
            else:
                fed[name] = value.numpy()
        made = self.part(**inputs)
        expected = _flat(made)
        for one, found in zip(expected, self.session.run(None, fed), strict=True):
            _check_numbers(one)
            if found.shape != tuple(one.shape):
                raise InputError(
                    f"{self.name}: found a result of shape {found.shape}, expected"
                    f" {tuple(one.shape)}"
                )
            largest = one.abs().max().clamp(min=1e-6)
            difference = float((torch.from_numpy(found) - one).abs().max() / largest)
            if not difference <= self.most:
                raise InputError(
                    f"{self.name}: found results that differ from the model's by {difference:.1e},"
                    f" expected at most {self.most:g}"
                )
            self.worst = max(self.worst, difference)
        return expected


def _flat(made: Any) -> list[Tensor]:
    if isinstance(made, Tensor):
        return [made]
    return [one for part in made for one in _flat(part)]
