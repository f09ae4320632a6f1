"""onnxruntime-web, which runs networks in a browser: from a folder, or brought by npm."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from unglossed.errors import InputError

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
FILES: Mapping[str, str] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
"""Files of the package's `dist` that compute in WebAssembly, and their SHA-256."""
WEBGPU_FILES: Mapping[str, str] = {
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": (
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
"""Those that compute with WebGPU as well, beside the others."""
SECONDS = 600
"""That npm may take."""
_LICENSE = """\
The other files of this folder are onnxruntime-web {version}, from npm, under the MIT License:

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def copy_runtime(source: Path | None, target: Path, *, webgpu: bool = False) -> None:
    """Put the runtime's files into a folder, each compared with its known checksum.

    Args:
        source: folder that holds them: the package's `dist`, the package, or the folder `runtime`
            of another page. None: npm brings the package, which is a download of 33 MB.
        target: new folder.
        webgpu: also those that compute with WebGPU, another 27 MB.

    Raises:
        InputError: there is no npm, it brings nothing, or a file is missing or another version's.
    """
    files = {**FILES, **(WEBGPU_FILES if webgpu else {})}
    target.mkdir()
    if source is None:
        with TemporaryDirectory() as folder:
            _unpack(_pack(Path(folder)), files, target)
            _check(target, files, f"{PACKAGE} {VERSION} from npm")
    else:
        places = (source, source / "dist", source / "runtime")
        first = next(iter(files))
        found = next((place for place in places if (place / first).is_file()), None)
        if found is None:
            raise InputError(
                f"{source}: found no {first}, expected the folder dist of npm's"
                f" {PACKAGE}@{VERSION}, or the folder runtime of another page"
            )
        _check(found, files, str(found))
        for name in files:
            shutil.copyfile(found / name, target / name)
    (target / "LICENSE.txt").write_text(_LICENSE.format(version=VERSION), encoding="utf-8")


def _pack(folder: Path) -> Path:
    """Have npm fetch the package as an archive."""
    remedy = (
        f"install npm, or give a folder that holds {PACKAGE}@{VERSION} with --runtime"
        f" (npm pack {PACKAGE}@{VERSION}, where there is a network)"
    )
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"npm is not there, which brings {PACKAGE}: {remedy}")
    words = [
        npm,
        "pack",
        f"{PACKAGE}@{VERSION}",
        "--loglevel=error",
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--pack-destination",
        str(folder),
    ]
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"npm could not bring {PACKAGE}@{VERSION} ({error}): {remedy}") from None
    archive = next(iter(sorted(folder.glob("*.tgz"))), None)
    if done.returncode or archive is None:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it told no reason"]
        raise InputError(f"npm could not bring {PACKAGE}@{VERSION} ({lines[0][:200]}): {remedy}")
    return archive


def _unpack(archive: Path, files: Mapping[str, str], target: Path) -> None:
    with tarfile.open(archive) as package:
        for name in files:
            try:
                content = package.extractfile(f"package/dist/{name}")
            except KeyError:
                content = None
            if content is not None:
                with content, (target / name).open("wb") as file:
                    shutil.copyfileobj(content, file)


def _check(folder: Path, files: Mapping[str, str], told: str) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{told}: found no {name}, expected {PACKAGE} {VERSION}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise InputError(
                f"{told}, {name}: found the SHA-256 {found[:12]}..., expected"
                f" {expected[:12]}..., that of {PACKAGE} {VERSION}"
            )
