"""Speech of generated sentences: a voice for each signer, spoken by eSpeak NG.

eSpeak NG is GPL and an extra; nothing of it is loaded into this process.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.media.augment import generator_for
from unglossed_synth.planning import TRAIN_SIGNERS, UNSEEN_SIGNERS

SAMPLE_RATE = 16000
"""Samples a second of everything spoken here."""

SPOKEN_LANGUAGE = "de"

# Variants with breath, and those of the Klatt synthesiser, read memory that nobody has written:
# they sound otherwise in every process.
_TRAIN_VARIANTS = ("m1", "f1", "m2", "Annie", "m3", "linda", "m4", "belinda", "m5", "f4", "m6")
_UNSEEN_VARIANTS = ("m7", "steph")
_VOLUME = 70
_PACKAGE = "espeakng_loader"
_PROGRAM = Path(__file__).with_name("espeak.py")


@dataclass(frozen=True)
class Voice:
    """How a signer of the corpus speaks.

    Attributes:
        voice: Name of eSpeak NG's voice with its variant, such as "de+f1".
        rate: Words a minute.
        pitch: From 0 to 99; 50 is the variant's own.
        range: Of the pitch, from 0 to 99; 50 is the variant's own.
        volume: 100 is eSpeak NG's own.
    """

    voice: str
    rate: int
    pitch: int
    range: int
    volume: int = _VOLUME


def draw_voice(seed: int, signer: str) -> Voice:
    """Draw the voice of a person of the corpus that has this seed.

    Those whom only `test` has speak with variants that no other person has.

    Args:
        seed: Of the corpus.
        signer: One of `planning.TRAIN_SIGNERS` or `UNSEEN_SIGNERS`.
    """
    if signer in UNSEEN_SIGNERS:
        variant = _UNSEEN_VARIANTS[UNSEEN_SIGNERS.index(signer)]
    else:
        variant = _TRAIN_VARIANTS[TRAIN_SIGNERS.index(signer) % len(_TRAIN_VARIANTS)]
    generator = generator_for(seed, 0, f"voice {signer}")
    rate, pitch, span = (
        int(generator.integers(*ends)) for ends in ((140, 185), (35, 66), (30, 71))
    )
    return Voice(f"{SPOKEN_LANGUAGE}+{variant}", rate, pitch, span)


def check_espeak() -> None:
    """Make sure that eSpeak NG is there.

    Raises:
        InputError: It is not installed.
    """
    _find_espeak()


def speak(texts: Sequence[str], voice: Voice) -> list[NDArray[np.int16]]:
    """Speak German sentences, one after the other, in a process of their own.

    The same sentences in the same order and voice give the same samples.

    Args:
        texts: What is said; a sentence's samples depend a little on those before it.
        voice: Who speaks.

    Returns:
        Samples at `SAMPLE_RATE`, one channel, for each text: (n,).

    Raises:
        InputError: eSpeak NG is not installed, or does not work.
    """
    library, data = _find_espeak()
    request = {
        "library": str(library),
        # From within the folder above: eSpeak cuts off paths of more than 160 characters.
        "data": data.name,
        "texts": list(texts),
        **asdict(voice),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_PROGRAM)],
        input=json.dumps(request).encode(),
        cwd=data.parent,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise InputError(
            f"eSpeak NG failed (exit code {done.returncode}, {reason!r}), expected speech: "
            "pip install --force-reinstall espeakng-loader"
        )
    rate, place = int.from_bytes(done.stdout[:4], "little"), 4
    spoken = []
    for _ in texts:
        begin = place + 4
        place = begin + int.from_bytes(done.stdout[place:begin], "little")
        spoken.append(_resample(np.frombuffer(done.stdout[begin:place], "<i2"), rate))
    return spoken


def _find_espeak() -> tuple[Path, Path]:
    """The library, and the folder of its data."""
    try:
        loader = importlib.import_module(_PACKAGE)
    except ImportError:
        raise InputError(
            "--layout must_c speaks through eSpeak NG, which is not installed: "
            "pip install 'unglossed[espeak]'"
        ) from None
    return Path(loader.get_library_path()), Path(loader.get_data_path())


def _resample(samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    sound = av.AudioFrame.from_ndarray(samples[None].astype(np.int16), format="s16", layout="mono")
    sound.sample_rate = rate
    parts = [*resampler.resample(sound), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in parts]).astype(np.int16)
