"""Video and poses together: two stages on a generated corpus, and clips that lack one of both."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

import unglossed
from unglossed.cli import app
from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.inference.export import SignalReader
from unglossed.inference.sentences import SentenceTranslator
from unglossed.training.data import ClipDataset
from unglossed.training.recipe import load_recipe
from unglossed.training.train import train_recipe
from unglossed_synth.corpus import write_corpus

pytestmark = pytest.mark.slow

BACKBONE = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
STREAMS: dict[str, Any] = {
    "kind": "streams",
    "video": {"backbone": {**BACKBONE, "layer_type": "basic"}, "temporal_dim": 12},
    "array": {
        **{"kind": "graph", "point_dim": 8, "dim": 16, "layers": 1, "heads": 2, "ffn_dim": 32},
        **{"temporal_pools": [2, 2], "edge_frames": 8},
    },
}


def recipe(path: Path, *stages: dict[str, Any], **changes: Any) -> Path:
    """Two stages of two steps each, or others."""
    rest: dict[str, Any] = {"batch_size": 3, "epochs": 1, "precision": "float32"}
    rest |= {"learning_rates": {"adapter": 0.01, "language_model": 0.01}}
    rest |= {"adapter": {"config": {"hidden_dim": 32}}}
    light_t = {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}
    first = {"name": "first", "encoder": {"config": STREAMS}, **rest}
    first["language_model"] = {"config": {"light_t": light_t}}
    first["learning_rates"] = {"encoder": 0.01, **rest["learning_rates"]}
    second = {"name": "second", "encoder": {"source": "first"}, **rest}
    second |= {"language_model": {"source": "first"}, "frozen": ["encoder"], "feature_views": 2}
    fields = {
        "seed": 1,
        "tokenizer": {"vocab_size": 120},
        "video": {"resize": 36, "crop": 32},
        "array": {"skeleton": "generated", "augmentation": {"rates": [25, 50], "noise": 0.02}},
        "streams": {"drop_video": 0.3, "drop_array": 0.3},
        "num_workers": 0,
        "decoding": {"max_new_tokens": 8},
        "stages": [{**first, **one} for one in stages] or [first, second],
    }
    path.write_text(yaml.safe_dump({**fields, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated corpus of 20 clips, two of dev and two of test, with landmarks."""
    folder = tmp_path_factory.mktemp("streams") / "corpus"
    write_corpus(folder, 20, seed=0, level=1, width=52, height=64, landmarks=True, num_workers=1)
    return folder


@pytest.fixture(scope="module")
def spec(root: Path) -> str:
    return f"phoenix14t:{root}?beside={root / 'landmarks'}"


@pytest.fixture(scope="module")
def run(root: Path, spec: str) -> Path:
    output = root.parent / "run"
    train_recipe(recipe(root.parent / "r.yaml"), spec, output)
    return output


def lacking(root: Path, folder: Path, *, video: str | None = None, array: str | None = None) -> str:
    """A spec of the corpus without the video of one clip, or the array of another."""
    shutil.copytree(root, folder)
    if array is not None:
        (folder / "landmarks" / f"{array}.npz").unlink()
    if video is not None:
        (found,) = (path for path in folder.rglob(video) if path.is_dir())
        shutil.rmtree(found)
    return f"phoenix14t:{folder}?beside={folder / 'landmarks'}"


def test_a_row_has_its_array_beside_it(root: Path, spec: str) -> None:
    (sample, *_) = read_corpus(spec).split("train")
    assert sample.array == root / "landmarks" / f"{sample.id}.npz"
    assert sample.media.is_dir()
    assert read_corpus(spec.partition("?")[0]).split("train")[0] == replace(
        sample, array=None, array_is_clip=False
    )


def test_both_stages_are_trained_and_what_is_stored_is_what_the_encoder_gives(
    run: Path, spec: str
) -> None:
    saved = json.loads((run / "model" / "processor_config.json").read_text())
    assert saved["streams"] == {"drop_video": 0.3, "drop_array": 0.3}
    before, after = (
        load_file(run / name / "model" / "model.safetensors") for name in ("1-first", "2-second")
    )
    encoder = [name for name in before if name.startswith("encoder.")]
    assert any("encoder.video.backbone" in name for name in encoder)
    assert all(torch.equal(before[name], after[name]) for name in encoder)
    assert (before["encoder.missing.video"] != 0).any()  # training has dropped both streams
    assert (before["encoder.missing.array"] != 0).any()

    for path in (run / "features").glob("*/settings.json"):
        assert json.loads(path.read_text())["streams"] == saved["streams"]
    translator = unglossed.load(run)
    stored: dict[str, torch.Tensor] = {}
    for path in (run / "features").rglob("*.safetensors"):
        stored |= load_file(path)
    (sample, *_) = read_corpus(spec).split("dev")
    found = translator.encode(translator.read(sample))
    assert any(
        one.shape == found.shape and torch.allclose(one.float(), found, atol=1e-4)
        for one in stored.values()
    )


def test_a_missing_stream_gives_a_text_and_is_said(
    run: Path, root: Path, spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = read_corpus(spec).split("test")
    part = lacking(root, tmp_path / "part", video=one.id, array=other.id)

    whole = unglossed.evaluate(run, spec, "test", tmp_path / "whole")
    assert "without it" not in capsys.readouterr().err
    score = unglossed.evaluate(run, part, "test", tmp_path / "scores")

    assert whole.num_samples == score.num_samples == 2
    said = capsys.readouterr().err
    assert f"1 of 2 clips have no video and are translated without it (first: {one.id})" in said
    assert f"1 of 2 clips have no array and are translated without it (first: {other.id})" in said
    assert "longer than those" not in said
    rows = (tmp_path / "scores" / "predictions.jsonl").read_text().splitlines()
    found = [json.loads(row) for row in rows]
    assert all(row["hypothesis"] for row in found)
    assert "translated from the array alone" in found[0]["notes"][0]
    assert "translated from the video alone" in found[1]["notes"][0]

    translator = unglossed.load(run)
    for sample, seen in zip((one, other), read_corpus(part).split("test"), strict=True):
        both, alone = (translator.encode(translator.read(each)) for each in (sample, seen))
        assert both.shape == alone.shape
        assert not torch.allclose(both, alone)


def test_the_command_finds_the_array_beside_the_clip_or_where_it_is_told(
    run: Path, root: Path, spec: str, tmp_path: Path
) -> None:
    (sample, _) = read_corpus(spec).split("test")
    assert sample.array is not None
    clip = tmp_path / "clip"
    shutil.copytree(sample.media, clip)

    def said(*options: str) -> tuple[str, str]:
        result = CliRunner().invoke(app, ["translate", str(run), *options])
        assert result.exit_code == 0, result.output
        return result.stdout, result.stderr

    text, note = said(str(clip))
    assert text.strip()
    assert "there is no array: it is translated from the video alone" in note
    told = said(str(clip), "--array", str(sample.array))
    assert "there is no" not in told[1]
    shutil.copy(sample.array, tmp_path / "clip.npz")
    assert said(str(clip)) == told
    alone, note = said(str(tmp_path / "clip.npz"))
    assert alone.strip()
    assert "there is no video: it is translated from the array alone" in note
    assert unglossed.translate(run, [sample])[0].text == told[0].strip()

    result = CliRunner().invoke(app, ["translate", str(run), str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "found no video there and no array beside it, expected one of both" in result.stderr
    result = CliRunner().invoke(app, ["translate", str(run), str(clip), "--array", "nowhere.npy"])
    assert "array: found no nowhere.npy, expected an array" in result.stderr


def test_the_check_tells_of_each_stream(root: Path, spec: str, tmp_path: Path) -> None:
    needs = load_recipe("two_streams").needs
    report = check_corpus(spec, needs=needs, deep=True)
    assert not report.has_errors, str(report)
    assert report.num_media == 40

    one, other, *_ = read_corpus(spec).split("train")
    part = lacking(root, tmp_path / "part", video=one.id, array=other.id)
    assert other.array is not None
    broken = tmp_path / "part" / "landmarks" / f"{read_corpus(spec).split('dev')[0].id}.npz"
    broken.write_bytes(b"no array")
    report = check_corpus(part, needs=needs)
    assert report.faults.count(FaultKind.MISSING_STREAM) == 2
    assert "there is no video" in str(report)
    assert "there is no array" in str(report)
    assert report.faults.count(FaultKind.UNREADABLE_MEDIA) == 1

    alone = check_corpus(spec.partition("?")[0], needs=needs)
    assert "found no array of any clip" in str(alone)
    assert alone.has_errors


def test_a_clip_with_neither_is_no_row(root: Path, spec: str, tmp_path: Path) -> None:
    (sample, *_) = read_corpus(spec).split("test")
    part = lacking(root, tmp_path / "part", video=sample.id, array=sample.id)
    with pytest.raises(InputError, match=f"no media for '{sample.id}'.*or an array in .*landmarks"):
        read_corpus(part)


def test_one_stream_is_frozen_and_one_comes_from_another_run(
    run: Path, spec: str, tmp_path: Path
) -> None:
    rates = {"encoder": 0.01, "adapter": 0.01, "language_model": 0.01}
    taken = {**STREAMS, "video": {"source": str(tmp_path / "seeing")}}
    seeing = {"encoder": {"config": STREAMS["video"]}, "learning_rates": rates}
    path = recipe(tmp_path / "a.yaml", seeing, array=None, streams=None)
    train_recipe(path, spec.partition("?")[0], tmp_path / "seeing")
    stage = {"encoder": {"config": taken}, "frozen": ["encoder.video"], "learning_rates": rates}

    train_recipe(recipe(tmp_path / "b.yaml", stage), spec, tmp_path / "run")

    before, after = (
        load_file(tmp_path / name / "model" / "model.safetensors") for name in ("seeing", "run")
    )
    kept = [name for name in before if name.startswith("encoder.")]
    assert any("running_mean" in name for name in kept)
    for name in kept:
        new = name.replace("encoder.", "encoder.video.", 1)
        assert torch.equal(before[name], after[new]), name
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["encoder"]["video"]["temporal_dim"] == 12


def test_what_cannot_read_two_streams_says_so(run: Path, root: Path, spec: str) -> None:
    translator = unglossed.load(run)
    with pytest.raises(InputError, match="the model reads streams, expected one that reads video"):
        translator.translate_frames(np.zeros((9, 32, 32, 3), np.uint8), fps=25)
    with pytest.raises(InputError, match="a model that reads streams: take whole"):
        SentenceTranslator(translator).translate(root)
    with pytest.raises(InputError, match="expected a visual one: it reads streams"):
        SignalReader(translator.model)
    with pytest.raises(InputError, match="reads streams"):
        unglossed.evaluate(run, spec, "test", root / "x", corrupt="hands")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"array": None}, "streams: found no array beside it, expected how arrays are read"),
        ({"streams": None}, "found an encoder of streams, expected one of one signal"),
        (
            {"streams": {"drop_video": 0.7, "drop_array": 0.4}},
            "found 0.7 and 0.4 to drop, expected at most 1 together",
        ),
        (
            {"array": {"skeleton": "generated", "augmentation": {"mirror": 0.5}}},
            r"array\.augmentation\.mirror: found 0\.5 beside streams, expected 0",
        ),
        ({"array": {"dim": 7}}, r"config\.array\.kind: found graph, expected array\.skeleton"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(
    changes: dict[str, Any], told: str, spec: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told) as raised:
        train_recipe(recipe(tmp_path / "r.yaml", **changes), spec, tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_training_drops_one_stream_or_none_and_evaluation_drops_nothing(
    run: Path, spec: str
) -> None:
    samples = read_corpus(spec).split("train")
    processor = unglossed.load(run).processor
    counts = {"both": 0, "video": 0, "array": 0}
    clips = ClipDataset(samples, processor, limit=300, training=True)
    for epoch in range(6):
        for index, sample in enumerate(samples):
            read = drawn(clips, epoch, sample)
            assert len(read.video) or len(read.array)
            kind = "both" if len(read.video) and len(read.array) else "video"
            counts[kind if len(read.video) else "array"] += 1
            again = clips[epoch, index]
            assert isinstance(again, dict)
            assert torch.equal(again["frames"], clips[epoch, index]["frames"])
    assert min(counts.values()) >= 3
    for sample in samples:
        content = clips.signal.read(sample)
        assert len(content.video)
        assert len(content.array)


def drawn(clips: ClipDataset, epoch: int, sample: Sample) -> Any:
    from unglossed.media.augment import generator_for

    return clips.signal.read(sample, generator_for(clips.seed, epoch, sample.id), limit=300)
