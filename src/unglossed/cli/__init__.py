"""The command line: every verb reads its arguments and calls one function of the library.

Nothing heavy is imported before a verb runs, so that `unglossed --help` answers at once.
Exit codes: 0 done, 1 a check found faults, 2 the user's input is wrong; 130, 143, 129 ended by
Ctrl-C, by SIGTERM (`kill`) or by SIGHUP (the terminal was closed), tidied up as after Ctrl-C.
"""

import errno
import json
import signal
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unglossed.cli import startup
from unglossed.cli.common import INPUT_WRONG, fail, silence_loading
from unglossed.cli.corpus import FAULTS_FOUND
from unglossed.cli.corpus import app as corpus_app
from unglossed.cli.train import extract, train
from unglossed.cli.translate import evaluate, score, translate
from unglossed.errors import InputError
from unglossed.signals import leave_interrupts, stopped_by, take_interrupts_once

SIGNALLED = 128


class Verbs(TyperGroup):
    """The group of all verbs; a user's mistake in any of them becomes one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise end_stopped(*map(str, error.args)) from None
        except Exception as error:
            if stopped_by() is not None:  # what was asked to end may fail in other ways, too
                raise end_stopped() from None
            if (message := describe(error)) is None:
                raise
            fail(message)
        raise typer.Exit(INPUT_WRONG)


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sign language video to text, without glosses, by factorized training.",
)


app.add_typer(corpus_app, name="corpus")


class Language(StrEnum):
    """Languages in which the generator speaks."""

    DE = "de"
    EN = "en"
    ZH = "zh"


class Layout(StrEnum):
    """Corpus layouts that the generator writes."""

    PHOENIX14T = "phoenix14t"
    CSL_DAILY = "csl_daily"
    HOW2SIGN = "how2sign"
    OPENASL = "openasl"
    FOLDER = "folder"
    MUST_C = "must_c"


class MediaKind(StrEnum):
    """How generated clips are stored: as folders of pictures, videos or sound."""

    PNG = "png"
    JPG = "jpg"
    MP4 = "mp4"
    WAV = "wav"


def main() -> None:
    """Entry point of the command `unglossed`."""
    take_interrupts_once()
    startup.own_process = True
    try:
        app()
    finally:
        leave_interrupts()


def describe(error: Exception) -> str | None:
    """The message about an error that a user can mend; None: it is a fault of the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"a text file is not UTF-8: {error}"
    # No such file, no permission, a full disk, ...; but not a reader who has gone.
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return None


def end_stopped(*told: str) -> typer.Exit:
    """Print one line that the work was stopped, and by what.

    Args:
        told: how to go on.

    Returns:
        What ends the process with the exit code that shells have for it.
    """
    number = stopped_by() or signal.SIGINT
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    with suppress(OSError):  # the terminal may have gone
        print("; ".join([f"stopped{by}", *told]), file=sys.stderr)
    return typer.Exit(SIGNALLED + number)


def print_version(wanted: bool) -> None:
    """Answer `--version`."""
    if wanted:
        from unglossed import __version__

        print(f"unglossed {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Sign language video to text, without glosses, by factorized training."""


@app.command()
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
        Layout.PHOENIX14T
    ),
    media: Annotated[
        MediaKind | None,
        typer.Option(help="Folders of pictures, videos or sound; the layout's own by default."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw; as many as cores by default.")
    ] = None,
) -> None:
    """Generate a corpus of drawn signing, or of speech, with its sentences."""
    from unglossed_synth.corpus import write_corpus

    width, height = read_size(size)
    write_corpus(
        out,
        sentences,
        seed,
        width=width,
        height=height,
        level=level,
        language=language and language.value,
        layout=layout.value,
        media=media and media.value,
        num_workers=workers,
        progress=True,
    )
    print(f"{layout.value}:{out}")


app.command()(extract)
app.command()(train)


app.command()(evaluate)
app.command()(score)
app.command()(translate)


@app.command()
def trim(
    model: Annotated[str, typer.Argument(help="Language model: folder or hub name.")],
    text: Annotated[str, typer.Option(metavar="SPEC", help="Corpus whose train texts to keep.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the model to.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")] = False,
) -> None:
    """Cut a language model's vocabulary to what the training text needs, and prove it harmless."""
    from unglossed.corpora.registry import read_corpus
    from unglossed.trimming.trim import trim_model

    silence_loading()
    texts = [sample.text for sample in read_corpus(text, only="train").split("train")]
    report = trim_model(model, texts, output)
    print(json.dumps(report.to_dict(), indent=2) if as_json else report)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Run folder, model folder or hub name.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write encoder.onnx to.")],
) -> None:
    """Write a model's encoder and adapter as ONNX, checked against the model."""
    from unglossed.inference.export import export_encoder

    silence_loading()
    difference = export_encoder(model, output)
    print(f"{output}: onnxruntime's numbers differ from the model's by {difference:.0e} at most")


@app.command()
def doctor() -> None:
    """Show what this machine has, and what would be missing for what."""
    from unglossed.cli.doctor import examine

    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.works else "MISSING"
        print(f"{mark}  {finding.subject:{width}}  {finding.text}")
    if not all(finding.works for finding in findings):
        raise typer.Exit(FAULTS_FOUND)


def read_size(text: str) -> tuple[int, int]:
    """Width and height in pixels out of `210x260`."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size: found {text!r}, expected WxH in pixels such as 210x260")
    return int(width), int(height)
