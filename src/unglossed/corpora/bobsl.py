"""BOBSL (British Sign Language to English): broadcasts with an interpreter, and their subtitles.

Reads the release's folders of subtitles, aligned to the signing or to the audio, beside whole
videos. No video is opened here.
"""

from __future__ import annotations

from pathlib import Path

from unglossed.corpora.faults import FaultKind
from unglossed.corpora.json_files import read_json
from unglossed.corpora.languages import generated_language
from unglossed.corpora.listing import list_clips, list_files, list_folders
from unglossed.corpora.reading import SPLIT_NAMES, Reading, Rows
from unglossed.corpora.sample import Corpus
from unglossed.corpora.subtitles import add_subtitles
from unglossed.errors import InputError
from unglossed.files import Names

SPLITS = "subset2episode.json"
SUBTITLES = Path("subtitles")
MANUAL = "manually-aligned"
ALIGNMENTS = (MANUAL, "audio-aligned-heuristic-correction", "audio-aligned")
"""Folders of subtitles, the one that fits the signing best first."""
VIDEOS = Path("videos")

_SPLIT_FOLDERS = ("", "metadata", "splits")
_VIDEO_FOLDERS = (VIDEOS, VIDEOS / "mp4", Path())


def read_bobsl(reading: Reading) -> Corpus:
    """Read every subset that has subtitles; `val` becomes dev.

    An episode's subtitles are those that were aligned to the signing by hand, else those whose
    alignment to the audio was corrected, else those aligned to the audio; how many are not aligned
    by hand is reported. `?subtitles=NAME` takes those of one folder. Episodes of the list without
    subtitles, as all of the challenge, are counted as not in this copy.

    Args:
        reading: Its root is the release's folder, or the one above or below it. Without a language
            it is what a generated corpus says about itself, else English.

    Raises:
        InputError: The list of subsets or the subtitles are missing or malformed.
    """
    base, path = _find_base(reading.root)
    subsets = _read_subsets(path)
    subtitles = _list_subtitles(reading, base)
    folders = [reading.media_root] if reading.media_root else [base / one for one in _VIDEO_FOLDERS]
    clips = list_clips(folders, reading.broken_links, look=reading.has_media)
    rows = Rows(reading, reading.language or generated_language(base) or "en", forgiving=True)
    num_kept, not_by_hand = 0, dict.fromkeys(subtitles, 0)
    for split, episodes in subsets.items():
        for episode in episodes:
            media = clips.find(episode)
            folder = next((name for name, found in subtitles.items() if episode in found), None)
            if folder is None:
                text = f"no subtitles of {episode!r} ({split})"
                reading.report(FaultKind.NOT_HERE, str(path), text)
                continue
            kept = add_subtitles(
                rows,
                subtitles[folder][episode],
                id=episode,
                split=SPLIT_NAMES.get(split, split),
                media=media,
                expected=folders[0] / f"{episode}.mp4",
            )
            num_kept += kept
            not_by_hand[folder] += kept
    _report_rest(reading, subsets, subtitles, path.name)
    not_by_hand.pop(MANUAL, None)
    for folder, count in not_by_hand.items():
        if count:
            text = (
                f"{count:,} of {num_kept:,} subtitles are not aligned to the signing by hand, which"
                f" lags behind the audio by seconds: expected {MANUAL}"
            )
            reading.report(FaultKind.MISALIGNED, str(base / SUBTITLES / folder), text)
    clips.report_leftover(rows)
    return rows.corpus("bobsl")


def _find_base(root: Path) -> tuple[Path, Path]:
    """The release's folder, and its list of subsets."""
    above = [root.resolve().parent] if root.name in (SUBTITLES.name, VIDEOS.name) else []
    for base in (root, *above, *sorted(list_folders(root).values())):
        for folder in _SPLIT_FOLDERS:
            if (base / folder / SPLITS).is_file():
                return base, base / folder / SPLITS
    raise InputError(f"{root}: found no {SPLITS}, expected {root / SPLITS}")


def _read_subsets(path: Path) -> dict[str, list[str]]:
    """The episodes of each subset."""
    content = read_json(path)
    subsets: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for name, episodes in content.items() if isinstance(content, dict) else ():
        if not isinstance(episodes, list) or not all(map(_is_episode, episodes)):
            raise InputError(f"{path}: {name!r} is no list of names of episodes")
        if not _is_episode(name):
            raise InputError(f"{path}: found the subset {name!r}, expected a name as train")
        for episode in episodes:
            if seen.setdefault(episode, name) != name:
                raise InputError(
                    f"{path}: found the episode {episode!r} in {seen[episode]!r} and {name!r},"
                    " expected each in one"
                )
        subsets[name] = list(dict.fromkeys(episodes))
    if not subsets:
        raise InputError(f'{path}: found no subsets, expected {{"train": [...], "val": [...]}}')
    return subsets


def _is_episode(value: object) -> bool:
    """Whether something is a name that a file can have."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return False
    return "/" not in value


def _list_subtitles(reading: Reading, base: Path) -> dict[str, Names[Path]]:
    """The files of each folder of subtitles, the best folder first."""
    present = list_folders(base / SUBTITLES)
    wanted = reading.own.get("subtitles")
    if wanted is not None and wanted not in present:
        found = ", ".join(sorted(present)) or "none"
        raise InputError(f"{base / SUBTITLES}: no folder {wanted!r} (?subtitles=), found {found}")
    names = [wanted] if wanted else [name for name in ALIGNMENTS if name in present]
    found_in = {name: list_files(base / SUBTITLES / name, (".vtt",)) for name in names if name}
    if not any(found_in.values()):
        raise InputError(
            f"{base / SUBTITLES}: found no subtitles, expected .vtt files in"
            f" {', '.join(names or ALIGNMENTS)}"
        )
    return found_in


def _report_rest(
    reading: Reading,
    subsets: dict[str, list[str]],
    subtitles: dict[str, Names[Path]],
    listed: str,
) -> None:
    """Report subtitles of episodes that are in no subset."""
    known = {episode for episodes in subsets.values() for episode in episodes}
    rest = {name: path for found in subtitles.values() for name, path in found.items()}
    for name, path in rest.items():
        if name not in known:
            reading.report(FaultKind.NO_SPLIT, str(path), f"{name!r} is in no subset of {listed}")
