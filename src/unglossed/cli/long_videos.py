"""`unglossed translate` of long videos: sentences with times, as subtitles and in other forms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unglossed.cli.common import PrecisionName, fail, quick_imports, silence_loading
from unglossed.errors import InputError, note

if TYPE_CHECKING:
    from unglossed.corpora.segments import Segment
    from unglossed.inference.sentences import Progress, Sentence

_WHOLE = ("text", "json")
_ALL = ("text", "srt", "vtt", "eaf", "tsv", "json")


@dataclass(frozen=True)
class LongOptions:
    """What was asked for of long videos, as the command line has it."""

    form: str
    output: Path | None
    cut: str | None
    segmenter: str | None
    segments: Path | None
    tier: str | None
    clip_timestamps: str | None
    max_line_width: int | None
    max_line_count: int | None
    burn_in: bool
    font: Path | None
    least_score: float | None
    frame_rate: float | None

    @property
    def wanted(self) -> bool:
        """Whether files are taken for long videos, not each for a sentence."""
        is_given = self.segments is not None or self.clip_timestamps is not None
        return (
            self.form not in _WHOLE
            or self.cut not in (None, "whole")
            or is_given
            or self.segmenter is not None
            or self.burn_in
        )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files to write."""
        return tuple(".txt" if form == "text" else f".{form}" for form in self.forms)

    @property
    def forms(self) -> tuple[str, ...]:
        """Forms of the files to write."""
        return _ALL if self.form == "all" else (self.form,)

    def refuse_what_has_no_effect(self) -> None:
        """Refuse options of long videos where each file is one sentence."""
        names = ("tier", "max_line_width", "max_line_count", "font", "least_score")
        for name in names:
            if getattr(self, name) is not None:
                raise InputError(f"{_option(name)} is for long videos: add -f srt, or --cut auto")

    def check(self, num_files: int) -> None:
        """Refuse options that do not go together."""
        if self.segments is not None and self.clip_timestamps is not None:
            raise InputError("--segments and --clip-timestamps: found both, expected one of them")
        if self.tier is not None and self.segments is None:
            raise InputError("--tier is for an ELAN file: add --segments FILE")
        if self.font is not None and not self.burn_in:
            raise InputError("--font is for --burn-in: add it")
        for name in ("segments", "clip_timestamps"):
            if getattr(self, name) is not None and num_files > 1:
                raise InputError(f"{_option(name)} is for one file: found {num_files} files")
            if getattr(self, name) is not None and self.cut not in (None, "auto"):
                raise InputError(f"{_option(name)} and --cut: found both, expected one of them")
        if self.segmenter is not None and (self.cut == "motion" or self.segments is not None):
            raise InputError("--segmenter finds the sentences: leave out --cut and --segments")
        if self.output is None and (num_files > 1 or len(self.forms) > 1 or self.burn_in):
            raise InputError("--output: is missing, expected a folder for the files (-o DIR)")
        if self.output is None or self.is_one_file(num_files):
            return
        if self.output.exists() and not self.output.is_dir():
            raise InputError(f"{self.output}: is a file, expected a folder for the files to write")

    def is_one_file(self, num_files: int) -> bool:
        """Whether `output` names the one file to write, by its ending."""
        ending = "" if self.output is None else self.output.suffix.lower()
        return num_files == 1 and not self.burn_in and self.suffixes == (ending,)

    def made_of(self, name: str, num_files: int) -> list[Path]:
        """The files to write of a video of this name, in the order of `forms`."""
        assert self.output is not None
        if self.is_one_file(num_files):
            return [self.output]
        return [self.output / f"{name}{suffix}" for suffix in self.suffixes]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def read_timestamps(text: str) -> list[Segment]:
    """Read begins and ends in seconds, separated by commas.

    Raises:
        InputError: something else stands there.
    """
    from unglossed.corpora.segments import Segment

    found = f"--clip-timestamps: found {text[:60]!r}, expected"
    try:
        times = [float(one) for one in text.split(",")]
    except ValueError:
        raise InputError(f"{found} seconds separated by commas: 0,4.5,6,9") from None
    if len(times) % 2:
        times.append(float("inf"))
    pairs = list(zip(times[::2], times[1::2], strict=True))
    if not all(0 <= start < end for start, end in pairs):
        raise InputError(f"{found} each begin at 0 or later and before its end")
    return [Segment(*pair) for pair in sorted(pairs)]


def translate_long(
    model: str, files: list[str], options: LongOptions, precision: str, settings: dict[str, Any]
) -> bool:
    """Translate long videos and write what was asked for; False: one of them failed."""
    from unglossed.files import check_writable

    options.check(len(files))
    segments = None
    if options.clip_timestamps is not None:
        segments = read_timestamps(options.clip_timestamps)
    if options.segments is not None:
        from unglossed.corpora.segments import read_segments

        segments = read_segments(options.segments, tier=options.tier)
    if options.least_score is not None:
        settings["least_score"] = options.least_score
    names = [_name(file) for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"found two files named {twice!r}, expected names that differ")
    if options.output is not None:
        for made in options.made_of(names[0], len(files)):
            check_writable(made)
            if options.segments is not None and made.resolve() == options.segments.resolve():
                raise InputError(
                    f"{made}: is what --segments reads, expected another folder (-o DIR)"
                )
    silence_loading()
    with quick_imports():
        from unglossed.inference.sentences import SentenceTranslator
        from unglossed.inference.subtitles import Lines
        from unglossed.media.burn_in import check_font

        translator = SentenceTranslator.from_pretrained(
            model, options.segmenter, precision=precision
        )
    if options.burn_in:
        check_font(options.font, "")
        for file in files:
            if Path(file).is_dir():
                raise InputError(f"{file}: is a folder, expected a video for --burn-in")
    writer = translator.translator
    language = writer.processor.check_language(settings.get("to", writer.decoding.to))
    lines = Lines.of(language, options.max_line_width, options.max_line_count)
    done = True
    for file in files:
        sentences: list[Sentence] = []
        try:
            with _progress(file) as progress:
                for one in translator.translate(
                    file,
                    cut=options.cut or "auto",
                    segments=segments,
                    frame_rate=options.frame_rate,
                    progress=progress,
                    **settings,
                ):
                    sentences.append(one)
        except InputError as error:
            fail(str(error))
            done = False
            if not sentences:
                continue
            note(
                f"{file}: {len(sentences):,} sentences were found before that, up to"
                f" {sentences[-1].end_seconds:.1f} seconds: they are written"
            )
        if not any(one.text for one in sentences):
            note(f"{file}: no sentence was found")
        try:
            _write(file, sentences, options, language, lines, len(files))
        except (InputError, OSError) as error:
            fail(str(error))
            done = False
    return done


def align(
    media: Annotated[Path, typer.Argument(help="Video of signing.")],
    subtitles: Annotated[
        Path, typer.Argument(help="Its subtitles: .srt, .vtt, .sbv, .ass, .eaf, .csv, .tsv, .json.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write: .srt, .vtt, .eaf, .tsv or .json."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Says which signing a text is likely of; else motion."),
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(metavar="DIR", help="Segmenter that finds the signing.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(metavar="NAME", help="Tier of an ELAN file of subtitles.")
    ] = None,
    precision: PrecisionName = "float32",
) -> None:
    """Move subtitles to the signing that they belong to, as in making a corpus of broadcasts.

    Texts stay as they are; a subtitle for which no signing is found is moved by as much as the
    others and named on stderr.
    """
    from unglossed.corpora.segments import read_segments
    from unglossed.files import check_writable, write_text

    form = output.suffix.removeprefix(".").lower()
    if form not in ("srt", "vtt", "eaf", "tsv", "json"):
        raise InputError(f"--output: found {output.name}, expected .srt, .vtt, .eaf, .tsv or .json")
    if segmenter is not None and model is None:
        raise InputError("--segmenter works beside a model: add --model")
    check_writable(output)
    cues = read_segments(subtitles, tier=tier)
    silence_loading()
    with quick_imports():
        from unglossed.inference.aligning import align_media
        from unglossed.inference.sentences import Sentence, SentenceTranslator
        from unglossed.inference.subtitles import Cue, render, write_srt, write_vtt

        sentences = None
        if model is not None:
            sentences = SentenceTranslator.from_pretrained(model, segmenter, precision=precision)
    with _progress(str(media)) as progress:
        placed = align_media(media, cues, sentences, progress=progress)
    times = [
        (one.segment.start_seconds, one.segment.end_seconds, one.segment.text) for one in placed
    ]
    if form in ("srt", "vtt"):
        write = write_srt if form == "srt" else write_vtt
        content = write([Cue(*row) for row in times])
    else:
        rows = [Sentence(n, *row, score=None) for n, row in enumerate(times, start=1)]
        language = "" if sentences is None else sentences.translator.processor.language
        content = render(
            rows, form, language=language, media=str(media), folder=output.absolute().parent
        )
    write_text(output, content)
    left = [one.segment for one in placed if not one.is_placed]
    typer.echo(f"wrote {output}: {len(placed) - len(left):,} subtitles placed", err=True)
    if 2 * len(left) > len(placed):
        note(f"{media}: most of {subtitles} finds no signing: are they of this video?")
    if left:
        note(
            f"{subtitles}: no signing was found for {len(left):,} of {len(placed):,} subtitles"
            f" (first: {left[0].text[:40]!r}), which are moved by as much as the others"
        )


def _name(file: str) -> str:
    from unglossed.corpora.registry import is_spec

    if is_spec(file):
        raise InputError(f"{file}: found a corpus, expected a video or an audio file for subtitles")
    return Path(file).stem or file


def _write(
    file: str,
    sentences: list[Any],
    options: LongOptions,
    language: str,
    lines: Any,
    num_files: int,
) -> None:
    from unglossed.files import whole_file, write_text
    from unglossed.inference.subtitles import make_cues, render

    folder = None if options.output is None else options.made_of("x", num_files)[0].parent
    rendered = {
        form: render(sentences, form, language=language, media=file, folder=folder, lines=lines)
        for form in options.forms
    }
    if options.output is None:
        sys.stdout.write(rendered[options.form])
        return
    paths = options.made_of(_name(file), num_files)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, rendered.values(), strict=True):
        write_text(path, content)
    if options.burn_in:
        from unglossed.media.burn_in import burn_in

        cues = make_cues(sentences, language, lines)
        rows = [(cue.start_seconds, cue.end_seconds, cue.text) for cue in cues]
        path = paths[0].parent / f"{_name(file)}.subtitled.mp4"
        with whole_file(path) as partial:
            burn_in(Path(file), rows, partial, font=options.font)
        paths.append(path)
    told = ", ".join(map(str, paths))
    noun = "sentence" if len(sentences) == 1 else "sentences"
    typer.echo(f"wrote {told}: {len(sentences):,} {noun}", err=True)


@contextmanager
def _progress(file: str) -> Iterator[Progress | None]:
    """A bar with the time left, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(Path(file).name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
