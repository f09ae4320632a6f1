"""Writes generated corpora to disk, in the layouts of real ones.

`planning` decides what is signed by whom in which split, `layouts` which files there are, and
`recording` fills them; here the work is shared out and what only a generated corpus knows is noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from unglossed.corpora.parallel import map_in_order, num_cores
from unglossed.errors import InputError
from unglossed.evaluation.regions import REGIONS_FILE
from unglossed.files import check_new_folder, whole_file, whole_folder
from unglossed.media.augment import generator_for
from unglossed_synth.encoding import write_sound, write_video
from unglossed_synth.grammar import LEVELS
from unglossed_synth.landmarks import LANDMARKS, write_landmarks
from unglossed_synth.layouts import LAYOUTS, Layout
from unglossed_synth.meaning import Meaning
from unglossed_synth.motion import FRAME_RATE
from unglossed_synth.planning import TRAIN_SIGNERS, UNSEEN_SIGNERS, Clip, plan_clips
from unglossed_synth.recording import Segment, record, sign_clip
from unglossed_synth.saying import say
from unglossed_synth.speech import (
    SAMPLE_RATE,
    SPOKEN_LANGUAGE,
    check_espeak,
    draw_voice,
    speak,
)


def write_corpus(
    out: Path,
    num_sentences: int,
    seed: int,
    *,
    width: int = 210,
    height: int = 260,
    level: int = 3,
    language: str | None = None,
    layout: str = "phoenix14t",
    media: str | None = None,
    recording_sentences: int | None = None,
    boxes: bool = False,
    landmarks: bool = False,
    num_workers: int | None = None,
    progress: bool = True,
) -> None:
    """Generate a corpus: the layout's files, `out/generated.json` and `out/generated.jsonl`.

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
        language: Language of the texts: en, de or zh; None for the layout's own. Clips do not
            depend on it.
        layout: A name in `layouts.LAYOUTS`.
        media: png or jpg, a folder of pictures a clip; mp4, a video a clip or for several; wav,
            speech. None for what the layout's own corpus has.
        recording_sentences: Sentences of a recording at most, where the layout lets one choose;
            None for the layout's own number.
        boxes: Also write where hands and face are, exactly, into `out/regions.jsonl`.
        landmarks: Also write where joints and points of the face are, exactly, into
            `out/landmarks/ID.npz`.
        num_workers: Processes that draw; None for one per core.
        progress: Show a bar on stderr.

    Raises:
        InputError: An argument is out of range or does not go with the layout, `out` holds
            something, the level has too few meanings for so many clips, or eSpeak NG is missing.
    """
    _check_choice("--layout", layout, LAYOUTS)
    chosen = LAYOUTS[layout]
    language = language or chosen.languages[0]
    media = media or chosen.media[0]
    _check(num_sentences, width, height, level)
    _check_choice("--language", language, chosen.languages, f" for --layout {layout}")
    _check_choice("--media", media, chosen.media, f" for --layout {layout}")
    if media == "mp4" and (width % 2 or height % 2):
        raise InputError(f"--size: found {width}x{height}, expected even numbers of pixels for mp4")
    if media == "wav":
        check_espeak()
    if recording_sentences is not None:
        if chosen.of_length is None:
            able = ", ".join(name for name, one in LAYOUTS.items() if one.of_length)
            raise InputError(f"--recording-sentences: found --layout {layout}, expected {able}")
        if recording_sentences < 1:
            found = f"--recording-sentences: found {recording_sentences}"
            raise InputError(f"{found}, expected 1 or more")
        chosen = chosen.of_length(recording_sentences)
    for option, wanted in (("--boxes", boxes), ("--landmarks", landmarks)):
        if wanted and (media == "wav" or layout == "broadcast"):
            found = f"--media {media}" if media == "wav" else f"--layout {layout}"
            raise InputError(f"{option}: found {found}, expected clips of one sentence to be seen")
    clips = plan_clips(num_sentences, seed, level)
    check_new_folder(out)
    recordings = chosen.arrange(clips, seed, language, media)
    with whole_folder(out) as folder:
        work = partial(record, folder, seed, width, height, boxes, landmarks)
        workers = min(num_workers or num_cores(), len(recordings))
        done: Iterable[tuple[Segment, ...]] = map_in_order(work, recordings, workers)
        if progress:
            verb = "speaking" if media == "wav" else "drawing"
            done = track(done, verb, len(recordings), console=Console(stderr=True))
        segments = [segment for group in done for segment in group]
        chosen.write_labels(folder, segments, language)
        rows = [_describe(segment, chosen) for segment in segments]
        _write_json_lines(folder / "generated.jsonl", rows)
        if boxes:
            _write_json_lines(
                folder / REGIONS_FILE, [_describe_regions(one, chosen) for one in segments]
            )
        for one in segments:
            if one.landmarks is not None:
                path = folder / LANDMARKS / f"{chosen.sample_id(one)}.npz"
                write_landmarks(path, one.landmarks, width, height)
        facts = {
            "version": 1,
            "seed": seed,
            "level": level,
            "language": language,
            "num_sentences": num_sentences,
            **_media_facts(segments, media, width, height),
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
    """Draw or speak one sentence, as an MP4 or a WAV that belongs to no corpus.

    Args:
        path: File to write, .mp4 or .wav; its folder must exist.
        meaning: What is signed, or said in German.
        signer_seed: Seed of the corpus whose signers are borrowed.
        seed: Decides how the sentence is signed, or in which words it is said.
        width: Width in pixels; the video format has even sizes only, an odd one gets one more.
        height: Height in pixels; the same holds.
        signer: Which person of that corpus signs or speaks.

    Raises:
        InputError: Speech is wanted, and eSpeak NG is not installed.
    """
    generator = generator_for(seed, 0, "clip alone")
    if path.suffix == ".wav":
        text = say(meaning, SPOKEN_LANGUAGE, generator)
        (samples,) = speak([text], draw_voice(signer_seed, signer))
        with whole_file(path) as partial:
            write_sound(partial, samples)
        return
    width, height = width + width % 2, height + height % 2
    clip = Clip(path.stem, "", signer, meaning, {})
    take = sign_clip(clip, signer_seed, generator)
    with whole_file(path) as partial:
        write_video(partial, take.frames(width, height), width, height)


def read_meanings(out: Path) -> dict[str, Meaning]:
    """Read what each clip of a generated corpus means, by the id that its reader gives it.

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
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}, line {number}: not a row of a generated corpus: {error}"
            ) from error
    return meanings


def _describe(segment: Segment, layout: Layout) -> dict[str, Any]:
    """A line of `generated.jsonl`."""
    clip = segment.clip
    row: dict[str, Any] = {
        "id": layout.sample_id(segment),
        "split": clip.split,
        "signer": clip.signer,
        "num_samples" if segment.gloss is None else "num_frames": segment.length,
        "meaning": clip.meaning.to_dict(),
        "text": clip.text,
    }
    if segment.gloss is not None:
        row["gloss"] = segment.gloss
    if segment.broadcast is not None:
        row["media"] = segment.recording.path.as_posix()
        row["start_seconds"] = round(segment.start_seconds, 6)
        row["end_seconds"] = round(segment.end_seconds, 6)
    return row


def _describe_regions(segment: Segment, layout: Layout) -> dict[str, Any]:
    """A line of `regions.jsonl`."""
    assert segment.regions is not None
    # Rounded outwards, so that nothing of a hand is left.
    rounded = {
        name: np.concatenate([np.floor(own[..., :2] * 1e4), np.ceil(own[..., 2:] * 1e4)], axis=-1)
        for name, own in segment.regions.items()
    }
    return {
        "id": layout.sample_id(segment),
        "frame_rate": FRAME_RATE,
        **{
            name: [[box for box in boxes if _has_area(box)] for boxes in (own / 1e4).tolist()]
            for name, own in rounded.items()
        },
    }


def _has_area(box: Sequence[float]) -> bool:
    """Whether something of a box is in the picture."""
    left, top, right, bottom = box
    return left < right and top < bottom


def _media_facts(
    segments: Sequence[Segment], media: str, width: int, height: int
) -> dict[str, Any]:
    """What `generated.json` tells of the files."""
    length = sum(segment.length for segment in segments)
    if media == "wav":
        return {
            "num_samples": length,
            "sample_rate": SAMPLE_RATE,
            "spoken_language": SPOKEN_LANGUAGE,
        }
    size = {"width": width, "height": height}
    if segments[0].broadcast is None:
        return {"num_frames": length, **size, "frame_rate": FRAME_RATE}
    recordings = [_describe_broadcast(segment) for segment in segments if segment.index == 0]
    num_frames = sum(recording["num_frames"] for recording in recordings)
    return {"num_frames": num_frames, **size, "recordings": recordings}


def _describe_broadcast(first: Segment) -> dict[str, Any]:
    """A recording of `generated.json`, by its first sentence."""
    broadcast = first.broadcast
    assert broadcast is not None
    return {
        "media": first.recording.path.as_posix(),
        "signer": first.clip.signer,
        "num_sentences": len(first.recording.clips),
        "frame_rate": round(float(first.rate), 6),
        "num_frames": broadcast.num_frames,
        "happenings": [asdict(happening) for happening in broadcast.happenings],
    }


def _write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _check(num_sentences: int, width: int, height: int, level: int) -> None:
    if num_sentences < 4:
        raise InputError(f"--sentences: found {num_sentences}, expected 4 or more (one a split)")
    _check_choice("--level", level, LEVELS)
    if min(width, height) < 16:
        raise InputError(f"--size: found {width}x{height}, expected at least 16x16 pixels")


def _check_choice(option: str, value: object, allowed: Iterable[object], when: str = "") -> None:
    if value not in allowed:
        *others, last = map(str, allowed)
        names = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{option}: found {value!r}, expected {names}{when}")
