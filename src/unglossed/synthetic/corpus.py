"""Writes generated corpora to disk, in the layout of PHOENIX14T with its quirks.

`planning` decides what is signed by whom in which split; pictures come from `drawing`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from unglossed.corpora.phoenix14t import (
    FRAMES,
    INNER_FOLDER,
    VIDEOS,
    AnnotationRow,
    annotation_path,
    format_annotations,
)
from unglossed.errors import InputError
from unglossed.files import whole_file, whole_folder
from unglossed.media.seeding import generator_for
from unglossed.synthetic.drawing import draw_frames
from unglossed.synthetic.grammar import LEVELS
from unglossed.synthetic.meaning import Meaning
from unglossed.synthetic.motion import FRAME_RATE, animate
from unglossed.synthetic.planning import (
    SPLITS,
    TRAIN_SIGNERS,
    UNSEEN_SIGNERS,
    Clip,
    plan_clips,
)
from unglossed.synthetic.saying import LANGUAGES
from unglossed.synthetic.signer import Signer, draw_signer
from unglossed.synthetic.signing import glosses, sign_sentence

LAYOUTS = ("phoenix14t",)
MEDIA = ("png", "mp4")

# Drawn pictures have flat areas: without a filter they are written 2.5 times as fast as with all of
# them, read back faster, and are smaller.
_PNG_SETTINGS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)
_STRAY_FILE = "createDnnTrainingLabels-profile.py.lprof"
# x264's look-ahead for these two reads memory that nobody has written, and its bytes differ then.
_X264_OPTIONS = {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0:weightp=0"}


def write_corpus(
    out: Path,
    num_sentences: int,
    seed: int,
    *,
    width: int = 210,
    height: int = 260,
    level: int = 3,
    language: str = "de",
    layout: str = "phoenix14t",
    media: str = "png",
    num_workers: int | None = None,
    progress: bool = True,
) -> None:
    """Generate a corpus: `out/PHOENIX-2014-T`, `out/generated.json` and `out/generated.jsonl`.

    The same arguments give the same bytes, however many processes draw. `test` has signers that
    no other split has, `test_seen` those of train; no meaning and, in any language, no text is in
    two splits. A run that fails leaves nothing at `out`.

    Args:
        out: Folder to make; it may exist if it is empty.
        num_sentences: Clips over all splits, at least 4.
        seed: Everything that is drawn follows from it.
        width: Width of a frame in pixels.
        height: Height of a frame in pixels.
        level: Part of the grammar: 1, 2 or 3.
        language: Language of the annotation files: en, de or zh. Clips do not depend on it.
        layout: phoenix14t.
        media: png, a folder of pictures a clip, or mp4, a video a clip in `videos/<split>`.
        num_workers: Processes that draw; None for one per core.
        progress: Show a bar on standard error.

    Raises:
        InputError: An argument is out of range, `out` holds something, or the level has too few
            meanings for so many clips.
    """
    _check(num_sentences, width, height, level, language, layout, media)
    clips = plan_clips(num_sentences, seed, level)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already, expected a new or an empty folder")
    with whole_folder(out) as folder:
        base = folder / INNER_FOLDER
        draw = partial(_write_media, base, seed, width, height, media)
        drawn: Iterable[tuple[int, str]] = _run(draw, clips, num_workers)
        if progress:
            drawn = track(drawn, "drawing", len(clips), console=Console(stderr=True))
        num_frames, gloss = zip(*drawn, strict=True)
        for split in SPLITS:
            rows = [
                AnnotationRow(
                    name=clip.id,
                    # As in the release, where there is no folder "1".
                    video=f"{clip.id}/1/*.png",
                    start="-1",
                    end="-1",
                    speaker=clip.signer,
                    orth=words,
                    translation=clip.text[language],
                )
                for clip, words in zip(clips, gloss, strict=True)
                if clip.split == split
            ]
            path = annotation_path(base, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(format_annotations(rows), encoding="utf-8", newline="\n")
        if media == "png":
            (_media_path(base, clips[0], media) / _STRAY_FILE).write_bytes(b"")
        _write_json_lines(
            folder / "generated.jsonl",
            (
                {
                    "id": clip.id,
                    "split": clip.split,
                    "signer": clip.signer,
                    "num_frames": frames,
                    "meaning": clip.meaning.to_dict(),
                    "text": clip.text,
                    "gloss": words,
                }
                for clip, frames, words in zip(clips, num_frames, gloss, strict=True)
            ),
        )
        facts = {
            "version": 1,
            "seed": seed,
            "level": level,
            "language": language,
            "num_sentences": num_sentences,
            "num_frames": sum(num_frames),
            "width": width,
            "height": height,
            "frame_rate": FRAME_RATE,
            "layout": layout,
            "media": media,
            "train_signers": list(TRAIN_SIGNERS),
            "unseen_signers": list(UNSEEN_SIGNERS),
        }
        _write_json_lines(folder / "generated.json", [facts])


def write_clip(
    path: Path,
    meaning: Meaning,
    signer_seed: int,
    seed: int,
    width: int = 210,
    height: int = 260,
    signer: str = TRAIN_SIGNERS[0],
) -> None:
    """Draw one sentence as an MP4 that belongs to no corpus.

    Args:
        path: File to write; its folder must exist.
        meaning: What is signed.
        signer_seed: Seed of the corpus whose signers are borrowed.
        seed: Decides how the sentence is signed.
        width: Width in pixels; the video format has even sizes only, an odd one gets one more.
        height: Height in pixels; likewise.
        signer: Which person of that corpus signs.
    """
    width, height = width + width % 2, height + height % 2
    clip = Clip(path.stem, "", signer, meaning, {})
    frames, _ = _draw_clip(clip, signer_seed, generator_for(seed, 0, "clip alone"), width, height)
    with whole_file(path) as partial:
        _write_video(partial, frames, width, height)


def read_meanings(out: Path) -> dict[str, Meaning]:
    """Read what each clip of a generated corpus means, by the clip's name.

    Args:
        out: The folder that `write_corpus` made.

    Raises:
        InputError: There is no `generated.jsonl`, or it is not from this program.
    """
    path = out / "generated.jsonl"
    if not path.is_file():
        raise InputError(f"{path}: not found, expected a generated corpus")
    meanings = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            meanings[str(row["id"])] = Meaning.from_dict(row["meaning"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: not a row of a generated corpus: {error}"
            ) from error
    return meanings


def draw_corpus_signer(seed: int, name: str) -> Signer:
    """Draw a person of the corpus that has this seed, such as "Signer01"."""
    return draw_signer(generator_for(seed, 0, f"signer {name}"), name)


def _run(
    draw: Callable[[Clip], tuple[int, str]], clips: list[Clip], num_workers: int | None
) -> Iterator[tuple[int, str]]:
    """Draw all clips, in one or more processes; results come in the order of the clips."""
    num_workers = min(num_workers or _num_cores(), len(clips))
    if num_workers == 1:
        yield from map(draw, clips)
        return
    executor = ProcessPoolExecutor(
        num_workers,
        # Not fork: the caller may have threads, whose locks a forked child would inherit.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=cv2.setNumThreads,
        initargs=(1,),
    )
    try:
        yield from executor.map(draw, clips, chunksize=max(1, min(8, len(clips) // num_workers)))
    finally:
        executor.shutdown(cancel_futures=True)


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write_media(
    base: Path, seed: int, width: int, height: int, media: str, clip: Clip
) -> tuple[int, str]:
    """Draw one clip of a corpus and write it.

    Returns:
        Number of frames, and the glosses.
    """
    generator = generator_for(seed, 0, f"clip {clip.id}")
    frames, gloss = _draw_clip(clip, seed, generator, width, height)
    path = _media_path(base, clip, media)
    if media == "mp4":
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write_video(path, frames, width, height), gloss
    path.mkdir(parents=True)
    num_frames = 0
    for frame in frames:
        num_frames += 1
        _write_picture(path / f"images{num_frames:04d}.png", frame)
    return num_frames, gloss


def _draw_clip(
    clip: Clip, signer_seed: int, generator: np.random.Generator, width: int, height: int
) -> tuple[Iterator[NDArray[np.uint8]], str]:
    signer = draw_corpus_signer(signer_seed, clip.signer)
    tokens = sign_sentence(clip.meaning, generator)
    poses = animate(tokens, signer, generator)
    return draw_frames(poses, signer, width, height), " ".join(glosses(tokens))


def _write_picture(path: Path, frame: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _PNG_SETTINGS):
        raise OSError(f"{path}: the picture could not be written")


def _write_video(path: Path, frames: Iterable[NDArray[np.uint8]], width: int, height: int) -> int:
    """Write an MP4 whose bytes depend on the frames only; return the number of frames."""
    has_x264 = "libx264" in av.codecs_available
    with av.open(
        str(path), "w", format="mp4", container_options={"fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream(
            "libx264" if has_x264 else "mpeg4",
            rate=FRAME_RATE,
            options=_X264_OPTIONS if has_x264 else {"qscale": "3"},
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # More threads would cut the frames into other slices, and so give other bytes.
        stream.codec_context.thread_count = 1
        num_frames = 0
        for frame in frames:
            num_frames += 1
            container.mux(stream.encode(to_video_frame(frame)))
        container.mux(stream.encode())
    return num_frames


def to_video_frame(frame: NDArray[np.uint8]) -> av.VideoFrame:
    """Convert a picture (height, width, 3) RGB to YUV 4:2:0 with zeros behind the end of each row.

    x264 looks at those bytes too, and what happened to be in memory would show in the video.
    """
    height, width = frame.shape[:2]
    picture = av.VideoFrame(width, height, "yuv420p")
    samples = av.VideoFrame.from_ndarray(frame, format="rgb24").to_ndarray(format="yuv420p").ravel()
    for plane in picture.planes:
        size = plane.height * plane.width
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = samples[:size].reshape(plane.height, plane.width)
        plane.update(rows)
        samples = samples[size:]
    return picture


def _media_path(base: Path, clip: Clip, media: str) -> Path:
    # The folder keeps its official name at every size, as other readers have it fixed.
    if media == "mp4":
        return base / VIDEOS / clip.split / f"{clip.id}.mp4"
    return base / FRAMES / clip.split / clip.id


def _write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _check(
    num_sentences: int,
    width: int,
    height: int,
    level: int,
    language: str,
    layout: str,
    media: str,
) -> None:
    if num_sentences < 4:
        raise InputError(f"--sentences: found {num_sentences}, expected 4 or more (one a split)")
    for option, value, allowed in (
        ("--level", level, LEVELS),
        ("--language", language, LANGUAGES),
        ("--layout", layout, LAYOUTS),
        ("--media", media, MEDIA),
    ):
        if value not in allowed:
            names = ", ".join(str(name) for name in allowed)
            raise InputError(f"{option}: found {value!r}, expected one of {names}")
    _check_size(width, height, media)


def _check_size(width: int, height: int, media: str) -> None:
    size = f"--size: found {width}x{height}"
    if min(width, height) < 16:
        raise InputError(f"{size}, expected at least 16x16 pixels")
    if media == "mp4" and (width % 2 or height % 2):
        raise InputError(f"{size}, expected even numbers of pixels for mp4")
