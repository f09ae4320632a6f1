"""A trained model's encoder and adapter as ONNX: pictures to what a language model reads.

The language model is not exported; other runtimes have their own ways of generating text. `web`
exports it, too, for a page.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unglossed.errors import InputError
from unglossed.files import bind_folder, check_new_folder, whole_folder
from unglossed.inference.translator import SignTranslator
from unglossed.models.temporal import PooledTemporal, TemporalModule, real_positions
from unglossed.models.translator import Translator
from unglossed.models.visual import VisualEncoder

FILE_NAME = "encoder.onnx"
TOLERANCE = 1e-4
"""Of the largest number: measured worst case 2e-6, another order of the same sums."""
CHECKED = ((7,), (5, 1, 9))
"""Frames of the clips on which a file is checked: one clip, and many."""


def encoder_of_pictures(model: Translator) -> VisualEncoder:
    """The encoder of a model that turns pictures, and they alone, into features.

    Raises:
        InputError: it has another encoder, or reads something beside the pictures.
    """
    if not isinstance(model.encoder, VisualEncoder):
        told = "found an encoder of another kind, expected a visual one"
        raise InputError(f"{told}: it reads {model.encoder.signal}")
    if model.context is not None:
        raise InputError("found a model that reads texts beside the signal, expected none")
    if model.encoder.frozen_block is not None:
        raise InputError("found an encoder with a frozen_block, expected one without")
    return model.encoder


class SignalReader(nn.Module):
    """Encoder and adapter in eval mode, written without sizes that only the data tells.

    As in `VisualEncoder` the backbone sees real frames only. Where they stand is told by the mask,
    and what is padding is computed behind the backbone and thrown away.

    Args:
        model: with a visual encoder.

    Raises:
        InputError: see `encoder_of_pictures`.
    """

    def __init__(self, model: Translator) -> None:
        super().__init__()
        self.encoder, self.adapter = encoder_of_pictures(model), model.adapter

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (clips, positions, width) for a language model; padded positions are zero.

        Args:
            frames: (frames, height, width, 3) uint8 RGB, the clips one after another.
            mask: (clips, time) bool, True where there is a frame: as many as there are frames.
        """
        encoder = self.encoder
        pooled = encoder.traced(encoder.paired(frames, mask.sum(1)))
        # Padding reads row 0, which is zero.
        place = mask.flatten().long().cumsum(0).reshape(mask.shape) * mask
        features = torch.cat([pooled.new_zeros(1, pooled.shape[1]), pooled])[place]
        if isinstance(encoder.temporal, PooledTemporal):
            features, mask = encoder.temporal(features, mask)
        elif isinstance(encoder.temporal, TemporalModule):
            mixed = encoder.temporal.conv(features.transpose(1, 2))
            features = torch.relu(encoder.temporal.norm(mixed)).transpose(1, 2) * mask[..., None]
        embeds, real = self.adapter(features, mask)
        return embeds * real[..., None]


def export_encoder(model: str | Path, output: Path) -> float:
    """Write encoder and adapter of a trained model as ONNX, and check the file against torch.

    The folder holds `encoder.onnx` (inputs `frames` and `mask`, output `embeds`, see
    `SignalReader`; any number of frames and clips) and the model's processor.

    Args:
        model: see `SignTranslator.from_pretrained`.
        output: folder to write to, new or empty.

    Returns:
        How far onnxruntime's numbers are from torch's at most, as a share of the largest.

    Raises:
        InputError: there is something in the folder; the model cannot be loaded, or has no visual
            encoder; a package is not there; or the file does not compute what the model does.
    """
    check_new_folder(output)
    check_packages()
    translator = SignTranslator.from_pretrained(model)
    try:
        reader = SignalReader(translator.model.cpu()).eval()
    except ValueError as error:
        raise InputError(f"{model}: {error}") from None
    with whole_folder(output) as folder:
        path = folder / FILE_NAME
        _write(reader, translator.processor.crop, path)
        translator.processor.save_pretrained(folder)
        difference = _difference(translator.model, translator.processor.crop, path)
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path.name}: found results that differ from the model's by {difference:.1e},"
                f" expected at most {TOLERANCE:.0e}"
            )
        bind_folder(folder)
    return difference


def check_packages() -> None:
    """Refuse, before the work, what needs a package that is not there.

    Raises:
        InputError: names the package.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(f"{missing[0]} is not installed: pip install 'unglossed[onnx]'")


def _inputs(lengths: tuple[int, ...], side: int) -> tuple[Tensor, Tensor]:
    """Random frames and the mask of clips of these lengths."""
    generator = torch.Generator().manual_seed(0)
    shape = (sum(lengths), side, side, 3)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return frames, real_positions(torch.tensor(lengths))


def _write(reader: SignalReader, side: int, path: Path) -> None:
    frames, clips, time = (torch.export.Dim(name) for name in ("frames", "clips", "time"))
    write_network(
        reader,
        dict(zip(("frames", "mask"), _inputs((5, 3), side), strict=True)),
        path,
        {"frames": {0: frames}, "mask": {0: clips, 1: time}},
        outputs=["embeds"],
    )


def write_network(
    network: nn.Module,
    inputs: Mapping[str, Any],
    path: Path,
    sizes: Mapping[str, Any],
    *,
    outputs: Sequence[str],
    names: Sequence[str] | None = None,
) -> None:
    """Write a network as ONNX.

    Args:
        network: in eval mode.
        inputs: an example of each, by the name of the argument. Every tensor is an object of its
            own: torch's exporter takes two that are one for one input, and tells nobody.
        path: file to write.
        sizes: of each argument the sizes that may be others, see `torch.export.export`.
        outputs: names of the results.
        names: of the inputs, where an argument is a list of several.
    """
    with warnings.catch_warnings(), _without_warnings_of_torch(), torch.no_grad():
        warnings.simplefilter("ignore")  # of packages' own affairs
        torch.onnx.export(
            network,
            (),
            path,
            kwargs=dict(inputs),
            input_names=list(names or inputs),
            output_names=list(outputs),
            dynamic_shapes=dict(sizes),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _without_warnings_of_torch() -> Iterator[None]:
    """Its exporter logs that torchvision is missing, which nothing here needs."""
    logger = logging.getLogger("torch.onnx")
    found = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(found)


@torch.no_grad()
def _difference(model: Translator, side: int, path: Path) -> float:
    """Largest difference between onnxruntime and the model, as a share of the largest number."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for lengths in CHECKED:
        frames, mask = _inputs(lengths, side)
        (found,) = session.run(["embeds"], {"frames": frames.numpy(), "mask": mask.numpy()})
        expected, real = model.adapter(*model.encode(frames, torch.tensor(lengths)))
        expected = expected * real[..., None]
        if not expected.isfinite().all():
            raise InputError(
                "the model computes NaN or infinite numbers from random pictures: its weights are"
                " too large, or are no numbers"
            )
        difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
        if not difference <= worst:  # also where it is NaN
            worst = float(difference)
    return worst
