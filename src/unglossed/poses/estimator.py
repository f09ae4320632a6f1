"""A running pose estimator: its process, in an environment that may be another, and its settings.

`worker` is what runs there. Which clips are estimated, and where points go, is said in `estimate`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.files import file_checksum
from unglossed.poses import worker

_SHOWN = 300
_WINDOWS = os.name == "nt"


@dataclass(frozen=True)
class Kind:
    """What is known of an estimator before it runs.

    Attributes:
        skeleton: Name in `SKELETONS` of the points that it gives, in this order.
        channels: Of each point.
        units: Of x and y.
        has_models: Whether it reads model files that the user names.
        cores: That one process of it keeps busy.
    """

    skeleton: str
    channels: tuple[str, ...]
    units: str
    has_models: bool
    cores: int = 1


KINDS = {
    "mediapipe": Kind("mediapipe", ("x", "y", "z", "confidence"), "shares", False, cores=2),
    "rtmpose": Kind("coco_wholebody", ("x", "y", "confidence"), "pixels", True),
}
"""The estimators of `worker.ESTIMATORS`."""


class Died(Exception):
    """The estimator's process ended in the middle of its work; the message says how."""


@dataclass(frozen=True)
class ModelFile:
    """A model file and the SHA-256 that it is to have, in hexadecimal."""

    path: Path
    sha256: str | None

    def verify(self, option: str) -> str:
        """Compare the checksum and return it.

        Args:
            option: Of the command line by which the checksum is given, for messages.

        Raises:
            InputError: The file is not there, or another one.
        """
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such file, expected a model in ONNX")
        found = file_checksum(self.path)
        if self.sha256 is None:
            raise InputError(
                f"{option}: found none for {self.path}, expected the checksum that its publisher"
                f" tells; the file's is {found}"
            )
        if found != self.sha256.lower():
            raise InputError(
                f"{self.path}: found the SHA-256 {found}, expected {self.sha256[:80]}, as {option}"
                " says: damaged, or another file"
            )
        return found


@dataclass(frozen=True)
class EstimatorSettings:
    """How an estimator is started.

    Attributes:
        name: One of `KINDS`.
        python: Interpreter of its environment, or the environment's folder; None: this one.
        model: Of RTMPose.
        detector: That finds the person for it; None: the person fills the picture.
    """

    name: str
    python: Path | None = None
    model: ModelFile | None = None
    detector: ModelFile | None = None

    @property
    def kind(self) -> Kind:
        """What is known of it."""
        return KINDS[self.name]

    def verify(self) -> dict[str, str]:
        """Compare the model files with their checksums.

        Returns:
            The checksums, by what each model is for.

        Raises:
            InputError: An estimator of another name, a file that it needs or does not read, or one
                that differs.
        """
        if self.name not in KINDS:
            known = ", ".join(KINDS)
            raise InputError(f"--with: found {self.name!r}, expected one of {known}")
        files = {"model": self.model, "detector": self.detector}
        given = {name: file for name, file in files.items() if file is not None}
        if given and not self.kind.has_models:
            raise InputError(
                f"--{next(iter(given))}: found one, but {self.name} has its models in its package"
            )
        if self.kind.has_models and self.model is None:
            raise InputError(f"--model: found none, expected the ONNX file that {self.name} runs")
        options = {"model": "--sha256", "detector": "--detector-sha256"}
        return {name: file.verify(options[name]) for name, file in given.items()}

    def interpreter(self) -> Path:
        """The Python that runs it.

        Raises:
            InputError: There is none.
        """
        if self.python is None:
            return Path(sys.executable)
        found = self.python
        if found.is_dir():
            found = found / ("Scripts/python.exe" if _WINDOWS else "bin/python")
        if not found.is_file() or not os.access(found, os.X_OK):
            raise InputError(
                f"--python: found no interpreter {found}, expected the folder of an environment"
                " (python -m venv FOLDER) or its python"
            )
        return found


class Estimator:
    """An estimator that runs; a context manager that ends it.

    Attributes:
        settings: How it was started.
        library: Package that it runs, with its version.
        models: Checksums of the models in its package.

    Raises:
        InputError: It cannot be started, or lacks something; names the interpreter.
    """

    def __init__(self, settings: EstimatorSettings) -> None:
        self.settings = settings
        self._interpreter = settings.interpreter()
        self._told = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        try:
            # -I: neither our PYTHONPATH nor this file's folder is that environment's.
            self._process = subprocess.Popen(
                [self._interpreter, "-I", worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._told,
            )
        except OSError as error:
            self._told.close()
            raise InputError(f"{self._interpreter}: cannot be run: {error.strerror}") from None
        opening = {
            "open": settings.name,
            "model": str(settings.model.path.resolve()) if settings.model else None,
            "detector": str(settings.detector.path.resolve()) if settings.detector else None,
        }
        try:
            facts, _ = self._ask(opening)
        except (InputError, Died) as error:
            self.close()
            raise InputError(f"{self._interpreter}: {error}") from None
        except BaseException:
            self.close()
            raise
        self.library: str = facts["library"]
        self.models: dict[str, str] = facts["models"]

    def begin(self) -> None:
        """Begin a clip: what was seen before does not count.

        Raises:
            Died: The process has ended.
        """
        with suppress(OSError):
            self._told.seek(0)
            self._told.truncate()  # libraries log some lines for each clip
        self._ask({"clip": True})

    def points(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Find the points of the clip's next frame.

        Args:
            picture: (height, width, 3) RGB.

        Returns:
            (points, channels), see the classes in `worker`.

        Raises:
            InputError: The estimator fails at this frame.
            Died: The process has ended.
        """
        content = np.ascontiguousarray(picture)
        facts, found = self._ask({"shape": picture.shape}, content.tobytes())
        return np.frombuffer(found, "<f4").reshape(facts["shape"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._told):
            assert pipe is not None
            with suppress(OSError):  # what was still to be written has no reader
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, facts: dict[str, Any], content: bytes = b"") -> tuple[dict[str, Any], bytes]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            worker.send(self._process.stdin, facts, content)
            answer = worker.receive(self._process.stdout)
        except (BrokenPipeError, EOFError):
            answer = None
        if answer is None:
            raise Died(self._how_it_ended())
        if "error" in answer[0]:
            raise InputError(answer[0]["error"])
        return answer

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        self._told.seek(0)
        lines = [line.strip() for line in self._told.read().decode(errors="replace").splitlines()]
        # The last line says most, but for those of Python that only point at a place.
        last = next((line for line in reversed(lines) if re.search(r"\w", line)), "")
        said = f": {last[:_SHOWN]}" if last else ""
        return f"the estimator's process was ended or crashed (code {code}){said}"
