"""The command line: every verb reads its arguments and calls one function of the library.

Nothing heavy is imported before a verb runs, so that `unglossed --help` answers at once.
Exit codes: 0 done, 1 a check found faults, 2 the user's input is wrong, 130 interrupted.
"""

import errno
import gc
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unglossed.cli_corpus import FAULTS_FOUND
from unglossed.cli_corpus import app as corpus_app
from unglossed.cli_training import extract, train
from unglossed.errors import InputError, take_interrupts_once

INPUT_WRONG = 2
INTERRUPTED = 130


class Verbs(TyperGroup):
    """The group of all verbs; a user's mistake in any of them becomes one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            # From a worker process the message comes behind the traceback of that process.
            fail(str(error).strip().splitlines()[-1].removeprefix("unglossed.errors.InputError: "))
        except UnicodeDecodeError as error:
            fail(f"a text file is not UTF-8: {error}")
        except OSError as error:  # no such file, no permission, a full disk, ...
            if error.errno in (None, errno.EPIPE):
                raise
            fail(": ".join(str(part) for part in (error.filename, error.strerror) if part))
        except KeyboardInterrupt as error:
            print("; ".join(["stopped", *map(str, error.args)]), file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
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


class Format(StrEnum):
    """How translations are written."""

    TEXT = "text"
    JSON = "json"


# Decoding, of `evaluate` and `translate` alike; what is not given is as the model's recipe says.
Beams = Annotated[
    int | None, typer.Option(min=1, help="Width of the beam search; the recipe's by default.")
]
MaxNewTokens = Annotated[
    int | None, typer.Option(min=1, help="Longest sentence, in tokens; the recipe's by default.")
]
LanguageContrast = Annotated[
    float | None,
    typer.Option(help="How much to hold back what the model would say unseen, such as 0.3."),
]
PrecisionName = Annotated[
    str, typer.Option("--precision", metavar="NAME", help="float32, bfloat16 or int8 (processor).")
]


def main() -> None:
    """Entry point of the command `unglossed`."""
    take_interrupts_once()
    try:
        app()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop


def fail(message: str) -> None:
    """Print one `error:` line to standard error."""
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)


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
    from unglossed.synthetic.corpus import write_corpus

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


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder, model folder or hub name.")],
    corpus: Annotated[str, typer.Option(metavar="SPEC", help="Corpus, e.g. phoenix14t:/data/PT.")],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for metrics.json and predictions.jsonl.")
    ],
    split: Annotated[str, typer.Option(help="Split of the corpus.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at a time.")] = 8,
    precision: PrecisionName = "float32",
    beams: Beams = None,
    max_new_tokens: MaxNewTokens = None,
    language_contrast: LanguageContrast = None,
) -> None:
    """Translate a split and score the translations against its references."""
    with uncollected():
        from unglossed.evaluation.evaluate import evaluate as evaluate_model

    silence_loading()
    scores = evaluate_model(
        model,
        corpus,
        split,
        output,
        batch_size=batch_size,
        precision=precision,
        progress=sys.stderr.isatty(),
        **given(beams=beams, max_new_tokens=max_new_tokens, language_contrast=language_contrast),
    )
    print(scores)


@app.command()
def score(
    hypotheses: Annotated[
        Path, typer.Argument(help="Text, one sentence a line, or evaluate's predictions.jsonl.")
    ],
    language: Annotated[
        str, typer.Option(metavar="CODE", help="Of the text, as de, en, zh: its tokenisation.")
    ],
    references: Annotated[
        list[Path] | None,
        typer.Argument(help="The same; several files are several references of each sentence."),
    ] = None,
    normalisation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="nfc.v1, nfc_no_final_stop.v1 (a final ' .') or nfkc_plain_signs.v1 (one sign for"
            " those that look alike).",
        ),
    ] = "nfc.v1",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")] = False,
) -> None:
    """Score sentences in one file against those in others; no model is needed.

    Without references those of the JSON lines that evaluate wrote are taken.
    """
    from unglossed.evaluation.text_files import score_files

    scores = score_files(hypotheses, references or [], language, normalisation)
    print(json.dumps(scores.to_dict(), indent=2) if as_json else scores)


@app.command()
def translate(
    model: Annotated[str, typer.Argument(help="Run folder, model folder or hub name.")],
    files: Annotated[list[str], typer.Argument(help="Videos, folders of frames, or sound.")],
    form: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.TEXT,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to a file, not to the screen.")
    ] = None,
    n_best: Annotated[int, typer.Option(min=1, help="Translations of each video.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Videos at a time.")] = 8,
    precision: PrecisionName = "float32",
    beams: Beams = None,
    max_new_tokens: MaxNewTokens = None,
    language_contrast: LanguageContrast = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw sentences instead of searching for the best.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="Below 1 draws vary less.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens with this probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed, the same draws.")] = None,
    frame_rate: Annotated[float | None, typer.Option(help="Of folders; 25 by default.")] = None,
) -> None:
    """Translate videos, or sound, into text.

    A clip that cannot be read costs one line on standard error and the exit code 2; the others are
    still translated.
    """
    from unglossed.files import check_writable, write_text

    if output is not None:
        check_writable(output)
    with uncollected():
        from unglossed.inference.output import format_json, format_text
        from unglossed.inference.translate import SignTranslator

    if sample and beams is not None:
        raise InputError("--beams is for the search, not for drawing texts: leave out --sample")
    silence_loading()
    failed: list[str] = []

    def report_failure(media: str, error: InputError) -> None:
        failed.append(media)
        fail(str(error))

    translations = SignTranslator.from_pretrained(model, precision=precision).translate(
        files,
        n_best=n_best,
        batch_size=batch_size,
        on_error=report_failure,
        frame_rate=frame_rate,
        **given(
            beams=beams,
            max_new_tokens=max_new_tokens,
            language_contrast=language_contrast,
            sample=sample or None,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        ),
    )
    if form is Format.JSON:
        text = format_json(translations)
    else:
        text = format_text(translations, named=len(files) > 1)
    if output is None:
        sys.stdout.write(text)
    elif translations:
        write_text(output, text)
    if failed:
        raise typer.Exit(INPUT_WRONG)


@app.command()
def trim(
    model: Annotated[str, typer.Argument(help="Language model: folder or hub name.")],
    text: Annotated[str, typer.Option(metavar="SPEC", help="Corpus whose train texts to keep.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the model to.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")] = False,
) -> None:
    """Cut a language model's vocabulary to what the training text needs, and prove it harmless."""
    from unglossed.corpora.registry import read_corpus
    from unglossed.models.trimming import trim_model

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
    from unglossed.doctor import examine

    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "ok     " if finding.works else "MISSING"
        print(f"{mark}  {finding.subject:{width}}  {finding.text}")
    if not all(finding.works for finding in findings):
        raise typer.Exit(FAULTS_FOUND)


@contextmanager
def uncollected() -> Iterator[None]:
    """Import without garbage collection, a third of a short translation's time, then or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def given(**options: Any) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


def read_size(text: str) -> tuple[int, int]:
    """Width and height in pixels out of `210x260`."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size: found {text!r}, expected WxH in pixels such as 210x260")
    return int(width), int(height)


def silence_loading() -> None:
    """Keep transformers' progress bars and reports out of the output: we say what is wrong."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
