"""The verbs that use a trained model or score what it gave: evaluate, score, compare, translate."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from unglossed.cli.common import (
    INPUT_WRONG,
    AsJson,
    CorpusSpec,
    ModelName,
    PrecisionName,
    fail,
    given,
    is_first_process,
    quick_imports,
    show,
    silence_loading,
)
from unglossed.cli.long_videos import LongOptions, translate_long
from unglossed.errors import InputError, note

CorruptionName = StrEnum(
    "CorruptionName", ["hands", "face", "both", "shuffle", "noise", "blank", "freeze"]
)
Format = StrEnum("Format", ["text", "json", "srt", "vtt", "eaf", "tsv", "all"])
CutName = StrEnum("CutName", ["whole", "auto", "motion", "segmenter", "pauses"])

# Decoding, in `evaluate` and `translate`; the default is what the model's recipe says.
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
ChoiceName = StrEnum("ChoiceName", ["best", "minimum_risk", "contrast"])
Choice = Annotated[
    ChoiceName | None,
    typer.Option(
        help="Which of the texts found to take: the best by the search, the one with which the"
        " others agree most, or the one that resembles the clip most; the recipe's by default."
    ),
]
NoRepeat = Annotated[
    int | None,
    typer.Option("--no-repeat-ngram-size", min=0, help="No run of so many tokens twice; 0: any."),
]


def evaluate(
    model: ModelName,
    corpus: CorpusSpec,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for metrics.json and predictions.jsonl.")
    ],
    split: Annotated[str, typer.Option(help="Split of the corpus.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at a time.")] = 8,
    precision: PrecisionName = "float32",
    beams: Beams = None,
    max_new_tokens: MaxNewTokens = None,
    language_contrast: LanguageContrast = None,
    choice: Choice = None,
    no_repeat_ngram_size: NoRepeat = None,
    corrupt: Annotated[
        CorruptionName | None,
        typer.Option(
            help="Take something away from every clip: cover hands, face or both, shuffle frames"
            " (pieces of audio), noise, blank, or freeze a frame. Written to DIR/corrupt-NAME."
        ),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where hands and face are, a file as regions.jsonl, or estimate; by default what"
            " lies in the corpus's folder or beside the media, else the estimate.",
        ),
    ] = None,
) -> None:
    """Translate a split and score the translations against its references."""
    with quick_imports():
        from unglossed.evaluation.evaluate import evaluate as evaluate_model

    _check_counts(batch_size=batch_size, beams=beams, max_new_tokens=max_new_tokens)
    silence_loading()
    scores = evaluate_model(
        model,
        corpus,
        split,
        output,
        batch_size=batch_size,
        precision=precision,
        progress=sys.stderr.isatty(),
        corrupt=corrupt and corrupt.value,
        regions=regions,
        **given(
            beams=beams,
            max_new_tokens=max_new_tokens,
            language_contrast=language_contrast,
            choice=choice and choice.value,
            no_repeat_ngram_size=no_repeat_ngram_size,
        ),
    )
    if is_first_process():
        print(scores)


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
    as_json: AsJson = False,
) -> None:
    """Score sentences in one file against those in others; no model is needed.

    Without references those of the JSON lines that evaluate wrote are taken.
    """
    from unglossed.evaluation.text_files import score_files

    show(score_files(hypotheses, references or [], language, normalisation), as_json)


def compare(
    systems: Annotated[
        list[Path],
        typer.Argument(
            help="The baseline and others: folders that evaluate wrote, run folders with one named"
            " as the split, predictions.jsonl, or text, one sentence a line."
        ),
    ],
    split: Annotated[str, typer.Option(help="Which evaluation of a run folder.")] = "test",
    references: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Of text; several are several of each sentence."),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Of the text; that of the scores beside by default."),
    ] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="As in score; that of the scores beside by default."),
    ] = None,
    generated: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Generated corpus: its meanings give slot F1."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Swaps and resamples drawn.")] = 10_000,
    sentences: Annotated[int, typer.Option(min=0, help="How many that differ most to show.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Also write it: to a .json or .md file, or to a folder as both.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether systems differ from a baseline by more than chance; no model is needed.

    Differences with 95 % confidence intervals, p values of paired approximate randomisation,
    sentences won and lost, and those that differ most, as Markdown or JSON.
    """
    from unglossed.evaluation.comparison import check_output, compare_files, write_comparison

    if output is not None:
        check_output(output, [*systems, *(references or [])], split)
    more = None
    if generated is not None:
        from unglossed_synth.parsing import measures_of

        more = measures_of(generated)
    found = compare_files(
        systems,
        split=split,
        references=references or [],
        language=language,
        normalisation=normalisation,
        more=more,
        trials=trials,
        sentences=sentences,
    )
    if output is not None:
        write_comparison(output, found)
    show(found, as_json)


def score_segments(
    hypotheses: Annotated[
        Path,
        typer.Argument(
            help="Segments that were found: captions (.srt, .vtt, .eaf ...), a table with start and"
            " end, JSON as Whisper writes it; or a folder of such files."
        ),
    ],
    references: Annotated[
        Path,
        typer.Argument(help="The true ones: the same, in a folder with files of the same names."),
    ],
    tier: Annotated[
        str | None, typer.Option(metavar="NAME", help="Tier of the ELAN files among them.")
    ] = None,
    same_text: Annotated[
        bool,
        typer.Option(
            "--same-text", help="Segments only fit those of the same text: for aligned subtitles."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score where sentences were found in videos against where they are; no model is needed.

    F1 at an overlap of 0.10, 0.25 and 0.50, frame accuracy at 25 frames a second, and how early or
    late the starts and ends are. The files of folders are counted together.
    """
    from unglossed.evaluation.segments import score_segments as score_files

    show(score_files(hypotheses, references, tier=tier, same_text=same_text), as_json)


def translate(
    model: ModelName,
    files: Annotated[
        list[str],
        typer.Argument(
            help="Videos, folders of frames, or audio; or a corpus, as folder:talks?language=de:"
            " each of its clips, also those with times and no text."
        ),
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="Form of the output. Subtitles (srt, vtt), ELAN (eaf) and tables (tsv) have the"
            " sentences of long videos with their times, all are all of these.",
        ),
    ] = Format.text,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Write to a file, not to the screen; of long videos to a folder, a file each."
            " Files of these names are replaced.",
        ),
    ] = None,
    cut: Annotated[
        CutName | None,
        typer.Option(
            help="How to find the sentences of a long video: by motion, by a segmenter, in audio by"
            " pauses; auto takes the best there is. whole, the default of text and json, takes each"
            " file for one sentence."
        ),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Segmenter that finds sentences: run or model folder."),
    ] = None,
    segments: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the sentences are: .srt, .vtt, .eaf, .csv, .tsv or .json."
        ),
    ] = None,
    tier: Annotated[
        str | None, typer.Option(metavar="NAME", help="Tier of an ELAN file of --segments.")
    ] = None,
    clip_timestamps: Annotated[
        str | None,
        typer.Option(
            "--clip-timestamps",
            "--clip_timestamps",
            metavar="S,E,...",
            help="The same by begins and ends in seconds; the last end may be left out.",
        ),
    ] = None,
    max_line_width: Annotated[
        int | None,
        typer.Option(
            "--max-line-width",
            "--max_line_width",
            min=1,
            help="Characters of a subtitle's line; 42 by default, 21 where there are no spaces.",
        ),
    ] = None,
    max_line_count: Annotated[
        int | None,
        typer.Option(
            "--max-line-count", "--max_line_count", min=1, help="Lines of a subtitle; 2 by default."
        ),
    ] = None,
    burn_in: Annotated[
        bool, typer.Option("--burn-in", help="Also write the video with its subtitles in it.")
    ] = False,
    font: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Font of --burn-in; DejaVu Sans, which has no Chinese."),
    ] = None,
    least_score: Annotated[
        float | None,
        typer.Option(help="Leave out sentences of long videos whose score is less, such as -0.6."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Language to write, as en, of a model that has several."),
    ] = None,
    least_confidence: Annotated[
        float | None,
        typer.Option(
            help="Of a calibrated model: give no text below this confidence but say that it was not"
            " understood; what calibrate chose by default, 0: give all."
        ),
    ] = None,
    n_best: Annotated[int, typer.Option(min=1, help="Translations of each video.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Videos at a time.")] = 8,
    precision: PrecisionName = "float32",
    beams: Beams = None,
    max_new_tokens: MaxNewTokens = None,
    language_contrast: LanguageContrast = None,
    choice: Choice = None,
    no_repeat_ngram_size: NoRepeat = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Sample sentences instead of searching for the best.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="Below 1 samples vary less.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the likeliest tokens with this probability.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed, the same samples.")
    ] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Pictures a second of folders of frames; 25 by default.")
    ] = None,
    array: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Of a model of two streams: the array of the video, or a folder of arrays called"
            " as the videos; by default what lies beside them.",
        ),
    ] = None,
    translate_empty: Annotated[
        bool,
        typer.Option(
            "--translate-empty",
            help="Translate clips with nothing in them, too: silence, black, blank or still"
            " pictures, a single picture.",
        ),
    ] = False,
) -> None:
    """Translate videos, or audio, into text.

    Each file is one sentence, or, for subtitles and with --cut, a long video whose sentences are
    found first. A clip that cannot be read costs one line on stderr and exit code 2; the others are
    still translated. A clip with nothing in it gets an empty text, a note on stderr and, in JSON, a
    reason; so does a clip that a calibrated model has not understood, which text and captions mark.
    A clip far longer than those of training is translated, with a note. Notes do not change the
    exit code.
    """
    from unglossed.files import check_writable, write_text

    _check_counts(n_best=n_best, batch_size=batch_size, beams=beams, max_new_tokens=max_new_tokens)
    decoding = given(
        to=to,
        beams=beams,
        max_new_tokens=max_new_tokens,
        language_contrast=language_contrast,
        choice=choice and choice.value,
        no_repeat_ngram_size=no_repeat_ngram_size,
        sample=sample or None,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    if sample and beams is not None:
        raise InputError("--beams is for beam search, not for sampling: leave out --sample")
    long = LongOptions(
        form=form.value,
        output=output,
        cut=cut and cut.value,
        segmenter=segmenter,
        segments=segments,
        tier=tier,
        clip_timestamps=clip_timestamps,
        max_line_width=max_line_width,
        max_line_count=max_line_count,
        burn_in=burn_in,
        font=font,
        least_score=least_score,
        frame_rate=frame_rate,
    )
    if long.wanted:
        if n_best > 1:
            raise InputError("--n-best is for clips of one sentence: leave it out here")
        if array is not None:
            raise InputError("--array is for clips of one sentence: leave it out here")
        settings = {"batch_size": batch_size, **decoding, "least_confidence": least_confidence}
        if not translate_long(model, files, long, precision, settings):
            raise typer.Exit(INPUT_WRONG)
        return
    long.refuse_what_has_no_effect()
    if output is not None:
        check_writable(output)
    with quick_imports():
        from unglossed.inference.output import format_json, format_text
        from unglossed.inference.translator import SignTranslator

    silence_loading()
    clips = _list_clips(files)
    failed: list[str] = []

    def report_failure(media: str, error: InputError) -> None:
        failed.append(media)
        fail(str(error))

    with quick_imports():  # loading imports the model's own modules
        translator = SignTranslator.from_pretrained(model, precision=precision)
    translations = translator.translate(
        clips,
        n_best=n_best,
        batch_size=batch_size,
        on_error=report_failure,
        frame_rate=frame_rate,
        array=array,
        translate_empty=translate_empty,
        least_confidence=least_confidence,
        **decoding,
    )
    if form is Format.json:
        text = format_json(translations)
    else:
        text = format_text(translations, named=len(clips) > 1)
    if output is None:
        sys.stdout.write(text)
    elif translations:
        write_text(output, text)
    if failed:
        raise typer.Exit(INPUT_WRONG)


def _list_clips(files: list[str]) -> list[Any]:
    """The clips that the names on the command line stand for: a corpus has one or more."""
    if not any(":" in file for file in files):
        return [*files]
    from unglossed.corpora.registry import is_spec, read_corpus

    clips: list[Any] = []
    for file in files:
        if not is_spec(file):
            clips.append(file)
            continue
        corpus = read_corpus(file, texts="optional")
        corpus.require_media("`translate`")
        for line in corpus.notes:
            note(line)
        clips += [sample for samples in corpus.splits.values() for sample in samples]
    return clips


def _check_counts(**options: int | None) -> None:
    """Refuse numbers beyond their bounds before anything heavy is loaded."""
    from unglossed.config import check_count

    for name, value in options.items():
        if value is not None:
            check_count(name, value, f"--{name.replace('_', '-')}")
