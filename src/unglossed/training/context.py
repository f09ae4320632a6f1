"""Texts beside the features of training's clips: who finds them, where they are kept, when dropped.

DIR/context/<key>/settings.json     what the texts depend on
DIR/context/<key>/fold-<n>.jsonl    a line a clip: its texts, found by a model that never saw it
DIR/context/<key>/fold-<n>/         that model's stages, until its texts are written

Folds are parts of train's sentences: all clips that say the same are in one. A model that was
trained without them drafts them as it drafts new sentences. At dev and test the whole stage does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModel

from unglossed.config import FieldError, field
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError, note
from unglossed.files import whole_file, write_text
from unglossed.inference.context import Texts, find_texts
from unglossed.media.augment import generator_for
from unglossed.models.context import DRAFT, KINDS, RETRIEVED, Context, ContextText
from unglossed.models.kept_alignment import FOLDER as ALIGNMENT
from unglossed.models.processing import TranslatorProcessor, pad_labels
from unglossed.models.token_alignment import TokenAlignment
from unglossed.ranks import here
from unglossed.training.added_settings import ContextSettings
from unglossed.training.build import build_alignment
from unglossed.training.data import AddingDataset, Unreadable, choose_workers
from unglossed.training.encoding import encode_clips, fast_form
from unglossed.training.features import use_bfloat16
from unglossed.training.keys import clip_keys, digest
from unglossed.training.plan import context_tokens, leads_of
from unglossed.training.settings import NAMING, StageSettings
from unglossed.training.signal_settings import OF_CLIPS
from unglossed.training.sources import load_complete

if TYPE_CHECKING:
    from unglossed.training.job import Job
    from unglossed.training.run import Run

ALIGNMENT_FILE = f"{ALIGNMENT}/trained.safetensors"
"""Beside the model of a stage: its alignment's weights, by which a later one retrieves texts."""
FOLDER = "context"
_SHARED = {"seed", "tokenizer", "extra_texts", "decoding", *OF_CLIPS}


class ContextDataset(AddingDataset):
    """Adds to each item the texts beside its features, those of each kind dropped by chance.

    Args:
        items: the clips.
        context: lays texts out.
        processor: of the run.
        texts: of each clip.
        dropped: chance that a clip's texts of a kind are left out, drawn in each epoch.
        seed: of what is drawn.
    """

    def __init__(
        self,
        items: Dataset[Any],
        context: Context,
        processor: TranslatorProcessor,
        texts: Sequence[Texts],
        dropped: float,
        *,
        seed: int,
    ) -> None:
        super().__init__(items, seed=seed)
        self.dropped = dropped
        self.rows = [
            [context.row(processor, [one for one in some if one.kind == kind]) for kind in KINDS]
            for some in texts
        ]

    def added(self, row: Mapping[str, Any], epoch: int, index: int) -> dict[str, Any]:
        """`context`: what is left, see `Context.row`."""
        kept = generator_for(self.seed, epoch, f"context {index}").random(len(KINDS))
        rows = self.rows[index]
        chosen = [one for one, chance in zip(rows, kept, strict=True) if chance >= self.dropped]
        return {"context": torch.cat([*chosen, rows[0][:0]])}


def build_context(
    job: Job, settings: ContextSettings, earlier: Mapping[str, Path], width: int
) -> Context:
    """Build what finds texts beside the features, from a trained stage.

    Args:
        job: of the stage that reads the texts.
        settings: its settings of them.
        earlier: model folders of the stages that were trained before, by name.
        width: of the language model that reads the texts.

    Raises:
        InputError: the source has no weights of its alignment, or others.
    """
    model, _ = load_complete(AutoModel, str(earlier[settings.source]))
    return _context_from(model, job.run, settings, earlier, width)


def _context_from(
    model: Any, run: Run, settings: ContextSettings, earlier: Mapping[str, Path], width: int
) -> Context:
    processor, writer = run.processor, model.config
    config: dict[str, Any] = {
        "width": model.language_model.width,
        "adapter": writer.adapter,
        "leads": leads_of(settings),
        "tokens": context_tokens(settings, processor),
    }
    gallery: dict[str, Tensor] = {}
    if settings.draft is not None:
        config[DRAFT] = {
            "language_model": writer.language_model,
            "prompt": writer.prompt,
            "lora": writer.lora,
            "beams": settings.draft.beams,
            "max_new_tokens": run.recipe.decoding.max_new_tokens,
        }
    if settings.retrieved is not None:
        told, gallery = _gallery(model, run, settings.source, earlier)
        config[RETRIEVED] = {**told, "number": settings.retrieved.number}
    context = Context(width, model.encoder.output_dim, config)
    context.adapter.load_state_dict(model.adapter.state_dict())
    if settings.draft is not None:
        context.language_model.load_state_dict(model.language_model.state_dict())
    if context.gallery is not None:
        context.gallery.load_state_dict(gallery)
    return context


def _gallery(
    model: Any, run: Run, source: str, earlier: Mapping[str, Path]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and state of a gallery of train's texts, each once; see `Gallery`."""
    plan = run.plans[source]
    assert plan.settings.alignment is not None
    alignment = build_alignment(plan, earlier)
    path = earlier[source] / ALIGNMENT_FILE
    try:
        alignment.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FieldError(
            "context.retrieved",
            f"{path}: cannot be read ({error}), expected the alignment of the stage: to train it"
            f" again, delete {earlier[source].parent} and the folders of the stages after it",
        ) from None
    texts = pad_labels([*own_places(run.corpus_texts, run.processor)])
    words = model.language_model.model.get_input_embeddings()
    vectors, token_ids, places = alignment.eval().entries(texts, words)
    state = {
        "clip_map.weight": alignment.clip_map.weight,
        "clip_map.bias": alignment.clip_map.bias,
        "vectors": vectors,
        "token_ids": token_ids.int(),
        "places": places.int(),
    }
    config = {
        "dim": vectors.shape[1],
        "num_entries": len(vectors),
        "num_texts": places.shape[0],
        "longest": places.shape[1],
        "temperature": alignment.temperature,
    }
    return config, state


def own_places(texts: Sequence[str], processor: TranslatorProcessor) -> dict[tuple[int, ...], int]:
    """Token ids of different texts, in their order, and the place of each in a gallery of them.

    Texts whose tokens are the same are the same text to a model.
    """
    places: dict[tuple[int, ...], int] = {}
    for ids in processor.encode_texts(texts):
        places.setdefault(tuple(ids), len(places))
    return places


def save_alignment(alignment: TokenAlignment, folder: Path) -> None:
    """Keep the weights of a stage's alignment beside its model."""
    state = {name: value.contiguous() for name, value in alignment.state_dict().items()}
    (folder / ALIGNMENT).mkdir(exist_ok=True)
    save_file(state, folder / ALIGNMENT_FILE)


TrainPart = Callable[["Run", Sequence[str], Path], Mapping[str, Path]]
"""Trains stages, by name, of a run with fewer clips in a folder; gives their model folders."""


def texts_of_train(job: Job, output: Path, train: TrainPart) -> dict[str, Texts]:
    """The texts beside the features of each clip of train that can be read, by its id.

    What is not in the run's folder yet is found; a model never finds those of a clip that it was
    trained on, unless no folds were asked for.

    Args:
        job: of the stage that reads them.
        output: the run's folder.
        train: trains the source without a part of the clips.
    """
    run, settings, ranks = job.run, job.stage.context, here()
    assert settings is not None
    stages = needed_stages(run.recipe.stages, settings.source)
    facts = _facts(job, settings, stages)
    folder = output / FOLDER / digest([facts, clip_keys(run.train_samples), run.corpus_texts])
    parts = folds_of(run.train_samples, settings.folds, run.recipe.seed)
    found: dict[str, Texts] = {}
    for number, samples in enumerate(parts, start=1):
        path = folder / f"fold-{number}.jsonl"
        if not ranks.first(path.is_file):
            where = f"stages.{job.stage.name}.context"
            earlier = job.earlier
            if settings.folds:
                ranks.first(partial(note, f"{where}: fold {number} of {len(parts)} is trained"))
                earlier = train(run.without(samples), stages, path.with_suffix(""))
            ranks.first(partial(_write_texts, job, settings, samples, earlier, path, facts))
        # Also of a run that was killed before it could.
        ranks.first(partial(shutil.rmtree, folder / f"fold-{number}", ignore_errors=True))
        found |= _read_texts(path)
    return found


def folds_of(samples: Sequence[Sample], number: int, seed: int) -> list[list[Sample]]:
    """Clips in as many parts of about the same number of sentences; 0: all in one.

    Clips that say the same are in the same part.

    Raises:
        InputError: there are fewer sentences than parts.
    """
    texts = sorted({sample.text for sample in samples})
    if len(texts) < number:
        raise FieldError(
            "context.folds",
            f"found {number}, expected at most the {len(texts)} different sentences of train",
        )
    order = generator_for(seed, 0, "folds").permutation(len(texts))
    count = max(number, 1)
    fold = {text: int(place) % count for text, place in zip(texts, order, strict=True)}
    return [[one for one in samples if fold[one.text] == part] for part in range(count)]


def check_folds(stages: Sequence[StageSettings], samples: Sequence[Sample]) -> None:
    """Check, before the first stage, that train can be cut into the folds of each stage.

    Raises:
        InputError: there are fewer sentences than folds.
    """
    for stage in stages:
        if stage.context is not None:
            with field(f"stages.{stage.name}"):
                folds_of(samples, stage.context.folds, 0)


def needed_stages(stages: Sequence[StageSettings], source: str) -> list[str]:
    """A stage and those that its parts come from, in their order."""
    named = {stage.name: stage for stage in stages}
    needed = {source}
    waiting = [source]
    while waiting:
        stage = named[waiting.pop()]
        for name in NAMING:
            part = getattr(stage, name)
            origin = None if part is None else part.source
            if origin in named and origin not in needed:
                needed.add(origin)
                waiting.append(origin)
    return [stage.name for stage in stages if stage.name in needed]


def _facts(job: Job, settings: ContextSettings, stages: Sequence[str]) -> dict[str, Any]:
    """What the texts depend on beside the clips."""
    recipe = job.run.recipe
    found: dict[str, Any] = recipe.model_dump(mode="json", include=_SHARED)
    found["stages"] = [
        [number, stage.model_dump(mode="json")]
        for number, stage in enumerate(recipe.stages, start=1)
        if stage.name in stages
    ]
    asked = settings.model_dump(mode="json", exclude={"dropped"})
    for kind in KINDS:
        if asked[kind] is not None:
            del asked[kind]["lead"]
    return {**found, "context": asked}


def _write_texts(
    job: Job,
    settings: ContextSettings,
    samples: Sequence[Sample],
    earlier: Mapping[str, Path],
    path: Path,
    facts: Mapping[str, Any],
) -> None:
    """Find the texts of some clips with a trained stage, and write them."""
    run = job.run
    model, _ = load_complete(AutoModel, str(earlier[settings.source]))
    context = _context_from(model.eval(), run, settings, earlier, model.language_model.width)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, context = model.to(device), context.to(device)
    source = next(stage for stage in run.recipe.stages if stage.name == settings.source)
    clips = replace(job, stage=source).clips(model, samples, training=False)
    bfloat16 = use_bfloat16(source.precision)
    items = [(0, index) for index in range(len(clips))]
    form = fast_form(model.encoder, clips, (0, 0), bfloat16=bfloat16)
    workers = choose_workers(run.recipe.num_workers, len(clips))
    features: list[Tensor] = []
    readable: list[Sample] = []
    rows = encode_clips(form, clips, items, bfloat16=bfloat16, num_workers=workers)
    for sample, row in zip(samples, rows, strict=True):
        if isinstance(row, Unreadable):
            run.left_out.add(row)
        else:
            features.append(row.float())
            readable.append(sample)
    places = own_places(run.corpus_texts, run.processor)
    encoded = run.processor.encode_texts([sample.text for sample in readable])
    own = [places.get(tuple(ids)) for ids in encoded]
    found = find_texts(context, run.processor, features, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.parent / "settings.json", json.dumps(facts, indent=2) + "\n")
    with whole_file(path) as partial_file, partial_file.open("w", encoding="utf-8") as file:
        for sample, texts in zip(readable, found, strict=True):
            line = {"id": sample.id, "texts": [asdict(one) for one in texts]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _read_texts(path: Path) -> dict[str, Texts]:
    """The texts of clips, by their ids.

    Raises:
        InputError: the file is damaged.
    """
    found: dict[str, Texts] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                texts = tuple(ContextText(**one) for one in row["texts"])
                if any(one.kind not in KINDS or not 0 <= one.confidence <= 1 for one in texts):
                    raise ValueError
                found[row["id"]] = texts
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}, line {len(found) + 1}: found {str(error)[:80] or 'something else'}, expected"
            " a clip's id and texts: delete the file, and they are found anew"
        ) from None
    return found
