"""The feature cache: what the encoder gives, computed once, read back exactly, never trusted."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from processes import run_python
from unglossed.corpora.pack import pack_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.media.augment import AugmentationConfig
from unglossed.models.frozen import VARIABLE
from unglossed.models.translator import Translator
from unglossed.training.data import ClipDataset, Collator
from unglossed.training.encoding import encode_clips
from unglossed.training.features import FeatureCache, StoredFeatures
from unglossed.training.keys import digest, feature_settings

PROCESSOR = tiny.tiny_processor()
NUM_CLIPS = 6
ONE_EACH = 1
"""Bytes of a shard that every clip fills."""

# Stores features of a corpus, and kills itself, as `kill -9` would, in its encoder's fifth call.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
import tiny
from processes import run_python
from unglossed.corpora.registry import read_corpus
from unglossed.training.data import ClipDataset
from unglossed.training.features import FeatureCache

torch.set_num_threads(1)
spec, folder = sys.argv[1:]
processor = tiny.tiny_processor()
model = tiny.tiny_model(processor)
calls = []

def count(*_):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

model.encoder.temporal.register_forward_hook(count)
clips = ClipDataset(read_corpus(spec).split("train"), processor, limit=8)
FeatureCache(Path(folder), shard_bytes=1).features(
    model.encoder, model.config.encoder, clips, bfloat16=False
)
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), NUM_CLIPS, 1)


def dataset(spec: str, **changes: Any) -> ClipDataset:
    """The train clips of a corpus, varied unless `changes` say otherwise."""
    settings: dict[str, Any] = {
        "limit": 8,
        "augmentation": AugmentationConfig(probability=1.0),
        "training": True,
        **changes,
    }
    return ClipDataset(read_corpus(spec).split("train"), PROCESSOR, **settings)


@pytest.fixture(scope="module")
def clips(spec: str) -> ClipDataset:
    return dataset(spec)


@pytest.fixture
def counted() -> Iterator[tuple[Translator, list[int]]]:
    """A translator and the number of frames of each clip that its encoder encodes."""
    model = tiny.tiny_model(PROCESSOR)
    calls: list[int] = []

    def count(module: Any, arguments: Any, output: Any) -> None:
        calls.append(int(arguments[1].sum()))

    handle = model.encoder.temporal.register_forward_hook(count)  # which the fast form has, too
    yield model, calls
    handle.remove()


def store(
    model: Translator,
    clips: ClipDataset,
    folder: Path,
    num_views: int = 1,
    *,
    shard_bytes: int = 2**25,
    bfloat16: bool = False,
    **settings: Any,
) -> list[StoredFeatures]:
    cache = FeatureCache(folder, shard_bytes=shard_bytes)
    config = model.config.encoder
    return cache.features(model.encoder, config, clips, num_views, bfloat16=bfloat16, **settings)


def assert_equal(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.equal(one, other)


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def folders_of(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.is_dir()}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_features_equal_those_of_the_step_itself_bit_by_bit(
    bfloat16: bool, counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, _ = counted
    model.freeze(["encoder"])
    model.train()
    stored = store(model, clips, tmp_path, 2, bfloat16=bfloat16)[1]

    model.train()  # as the training loop does; the frozen encoder stays in eval mode
    for chosen in ([3, 0, 5], [5], [1, 2, 3, 4]):
        batch = Collator(PROCESSOR)([clips[1, index] for index in chosen])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            features, mask = model.encode(batch["frames"], batch["lengths"])
        padded, real = (
            Collator(PROCESSOR)([{"features": stored[index], "labels": [1]} for index in chosen])[
                "features"
            ],
            mask,
        )
        assert torch.equal(features.float(), padded)
        assert real.sum(1).tolist() == [len(stored[index]) for index in chosen]


def test_a_frozen_encoder_gives_what_it_gives_in_one_batch(clips: ClipDataset) -> None:
    model = tiny.tiny_model(PROCESSOR)
    batch = Collator(PROCESSOR)([clips[0, index] for index in range(NUM_CLIPS)])
    with torch.no_grad():
        together, mask = model.encode(batch["frames"], batch["lengths"])
        model.freeze(["encoder"])
        alone, same_mask = model.encode(batch["frames"], batch["lengths"])

    assert torch.equal(mask, same_mask)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)  # worst seen 1e-6


def test_stored_features_are_read_back_exactly_and_not_computed_again(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    first = store(model, clips, tmp_path / "deep", 2)
    assert len(calls) == 2 * NUM_CLIPS
    assert sum(calls) == sum(len(row) for view in first for row in view)  # every frame once

    again = store(model, clips, tmp_path / "deep", 2)
    assert len(calls) == 2 * NUM_CLIPS
    for one, other in zip(first, again, strict=True):
        assert_equal(one, other)
    assert_equal(again[0][1:3], [again[0][1], again[0][2]])

    store(model, clips, tmp_path / "deep", 3)
    assert len(calls) == 3 * NUM_CLIPS  # the third view alone


def test_another_view_has_other_features_and_evaluation_has_one(
    counted: tuple[Translator, list[int]], spec: str, clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    views = store(model, clips, tmp_path, 2)
    assert all(one.shape == other.shape for one, other in zip(*views, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(*views, strict=True))

    calls.clear()
    views = store(model, dataset(spec, training=False), tmp_path, 2)
    assert len(calls) == NUM_CLIPS
    assert_equal(*views)


def test_each_engine_has_features_of_its_own(
    counted: tuple[Translator, list[int]],
    clips: ClipDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    settings = feature_settings(model.encoder, model.config.encoder, clips, bfloat16=False)
    monkeypatch.setenv(VARIABLE, "torch")
    plain = list(store(model, clips, tmp_path)[0])
    assert folders_of(tmp_path) == {tmp_path / digest(settings)}  # as it always was
    monkeypatch.setenv(VARIABLE, "folded")

    folded = list(store(model, clips, tmp_path)[0])

    assert len(calls) == 2 * NUM_CLIPS
    assert "computed anew: those stored differ in engine" in capsys.readouterr().err
    assert len(folders_of(tmp_path)) == 2
    assert any(not torch.equal(one, other) for one, other in zip(plain, folded, strict=True))
    torch.testing.assert_close(plain, folded, rtol=1e-4, atol=1e-5)
    monkeypatch.setenv(VARIABLE, "torch")
    assert_equal(store(model, clips, tmp_path)[0], plain)
    assert len(calls) == 2 * NUM_CLIPS


def test_features_of_a_form_that_is_too_far_off_are_stored_as_torchs(
    clips: ClipDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny.tiny_model(PROCESSOR)
    stem: Any = model.encoder.backbone.embedder.embedder
    with torch.no_grad():  # small differences of large numbers: rounding leaves noise of them
        stem.convolution.bias = torch.nn.Parameter(torch.full((8,), 1e8))
        stem.normalization.running_mean.add_(1e8)
    monkeypatch.setenv(VARIABLE, "torch")
    plain = list(store(model, clips, tmp_path, bfloat16=True)[0])
    monkeypatch.setenv(VARIABLE, "folded")

    found = store(model, clips, tmp_path, bfloat16=True)[0]

    assert "features by folded that are" in capsys.readouterr().err
    assert_equal(found, plain)
    assert len(folders_of(tmp_path)) == 1


def test_the_chance_of_the_run_is_left_alone(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    """A run that finds its features goes on like one that computes them."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    store(counted[0], clips, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("damage", ["data", "header", "short", "empty"])
def test_a_damaged_shard_is_said_and_computed_again(
    damage: str,
    counted: tuple[Translator, list[int]],
    clips: ClipDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    expected = [row.clone() for row in store(model, clips, tmp_path, shard_bytes=ONE_EACH)[0]]
    shard = shards_of(tmp_path)[2]
    content = bytearray(shard.read_bytes())
    if damage in ("data", "header"):
        content[-5 if damage == "data" else 12] ^= 1
    damaged = bytes({"short": content[:-9], "empty": b""}.get(damage, content))
    shard.unlink()  # another file: tensors of the one before are still mapped
    shard.write_bytes(damaged)
    calls.clear()
    capsys.readouterr()

    found = store(model, clips, tmp_path, shard_bytes=ONE_EACH)[0]

    assert len(calls) == 1
    assert_equal(found, expected)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"note: {shard}: is damaged; its features are computed anew"]
    store(model, clips, tmp_path)
    assert len(calls) == 1


def test_a_shard_of_another_encoder_is_not_taken_for_ones_own(
    counted: tuple[Translator, list[int]],
    clips: ClipDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    expected = [row.clone() for row in store(model, clips, tmp_path)[0]]
    mine = shards_of(tmp_path)[0]
    store(model, clips, tmp_path, bfloat16=True)
    (theirs,) = (path for path in shards_of(tmp_path) if path.parent != mine.parent)
    moved = mine.with_name(theirs.name)
    mine.unlink()
    theirs.rename(moved)
    calls.clear()
    capsys.readouterr()

    found = store(model, clips, tmp_path)[0]

    assert len(calls) == NUM_CLIPS
    assert_equal(found, expected)
    said = capsys.readouterr().err
    assert f"{moved}: is of other settings, moved here; its features are computed anew" in said


def test_shards_that_are_swapped_under_each_others_name_are_computed_again(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    expected = [row.clone() for row in store(model, clips, tmp_path, shard_bytes=ONE_EACH)[0]]
    one, other = shards_of(tmp_path)[:2]
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    calls.clear()

    assert_equal(store(model, clips, tmp_path)[0], expected)
    assert len(calls) == 2


def test_other_files_in_a_store_are_left_alone(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    store(model, clips, tmp_path)
    folder = shards_of(tmp_path)[0].parent
    (folder / "notes.safetensors").write_text("mine", encoding="utf-8")
    (folder / "settings.json").write_text("[1]", encoding="utf-8")

    store(model, clips, tmp_path)
    store(model, clips, tmp_path, bfloat16=True)

    assert len(calls) == 2 * NUM_CLIPS
    assert (folder / "notes.safetensors").read_text(encoding="utf-8") == "mine"


def test_a_killed_process_loses_one_shard_at_most(spec: str, tmp_path: Path) -> None:
    folders = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]
    finished = run_python(
        ["-c", KILLED, spec, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr[-2000:]
    assert len(shards_of(tmp_path)) == 4
    half = shards_of(tmp_path)[0].with_name(".00004-0badcafe.safetensors.partial")
    half.write_bytes(b"half of a shard")
    os.utime(half, (1, 1))
    fresh = half.with_name(".00005-0badcafe.safetensors.0badcafe.partial")
    fresh.write_bytes(b"half of a shard that another machine is writing")

    model = tiny.tiny_model(PROCESSOR)
    calls: list[int] = []
    model.encoder.temporal.register_forward_hook(lambda *_: calls.append(1))
    found = store(model, dataset(spec, training=False, augmentation=None), tmp_path)[0]

    assert len(calls) == NUM_CLIPS - 4
    assert not half.exists()
    assert fresh.exists()
    assert_equal(found, store(model, dataset(spec, training=False), tmp_path / "whole")[0])


def test_an_interrupted_one_goes_on_without_a_word(
    counted: tuple[Translator, list[int]],
    clips: ClipDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    told: list[int] = []

    def interrupt(count: int) -> None:
        told.append(count)
        if sum(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(model, clips, tmp_path, shard_bytes=ONE_EACH, advance=interrupt)
    told.clear()
    store(model, clips, tmp_path, shard_bytes=ONE_EACH, advance=told.append)

    assert len(calls) == NUM_CLIPS
    assert told == [3, *[1] * (NUM_CLIPS - 3)]
    assert capsys.readouterr().err == ""


def test_a_clip_that_changed_on_disk_is_said_and_computed_again(
    counted: tuple[Translator, list[int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    clips = dataset(tiny.write_corpus(tmp_path / "corpus", 3, 1))
    cache = tmp_path / "cache"
    before = [row.clone() for row in store(model, clips, cache, 2)[0]]
    picture = clips.samples[1].media / "images0003.png"
    shutil.copyfile(clips.samples[2].media / "images0001.png", picture)
    calls.clear()

    after = store(model, clips, cache, 2)[0]

    assert len(calls) == 2  # two views of one clip
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"note: {cache}: 2 features are computed anew: the clips' media changed"


def test_a_corpus_can_be_moved(
    counted: tuple[Translator, list[int]], spec: str, clips: ClipDataset, tmp_path: Path
) -> None:
    model, calls = counted
    store(model, clips, tmp_path / "cache")
    kind, _, root = spec.partition(":")
    shutil.copytree(root, tmp_path / "elsewhere")  # with the times of its files
    calls.clear()

    store(model, dataset(f"{kind}:{tmp_path / 'elsewhere'}"), tmp_path / "cache")

    assert calls == []


def test_a_packed_clip_is_known_by_its_content(
    counted: tuple[Translator, list[int]], spec: str, tmp_path: Path
) -> None:
    model, calls = counted
    pack_corpus(spec, tmp_path / "packed", num_workers=1, progress=False)
    clips = dataset(f"packed:{tmp_path / 'packed'}")
    store(model, clips, tmp_path / "cache")
    assert len(calls) == NUM_CLIPS

    for path in (tmp_path / "packed").rglob("*.tar"):
        os.utime(path, (1, 1))
    store(model, clips, tmp_path / "cache")
    assert len(calls) == NUM_CLIPS


@pytest.mark.parametrize(
    "part", [{"start_seconds": 0.08}, {"end_seconds": 0.16}, {"box": (0.0, 0.0, 0.5, 1.0)}]
)
def test_another_part_of_a_clip_has_other_features(
    part: dict[str, Any], counted: tuple[Translator, list[int]], spec: str, tmp_path: Path
) -> None:
    model, calls = counted
    store(model, dataset(spec), tmp_path)
    calls.clear()
    clips = dataset(spec)
    clips.samples = [replace(clips.samples[0], **part), *clips.samples[1:]]

    store(model, clips, tmp_path)

    assert len(calls) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit": 2}, "limit"),
        ({"seed": 1}, "seed"),
        ({"augmentation": AugmentationConfig(probability=0.5)}, "augmentation"),
        ({"augmentation": None}, "augmentation"),
    ],
)
def test_other_settings_have_features_of_their_own_and_say_so(
    changes: dict[str, Any],
    field: str,
    counted: tuple[Translator, list[int]],
    spec: str,
    clips: ClipDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    store(model, clips, tmp_path)

    store(model, dataset(spec, **changes), tmp_path)

    assert len(calls) == 2 * NUM_CLIPS
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"note: {tmp_path}: {NUM_CLIPS} features are computed anew: those stored differ in {field}"
    )
    store(model, clips, tmp_path)  # the first ones are still there
    assert len(calls) == 2 * NUM_CLIPS


def test_another_encoder_or_number_format_has_features_of_its_own(
    counted: tuple[Translator, list[int]],
    clips: ClipDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, calls = counted
    store(model, clips, tmp_path)
    store(model, clips, tmp_path, bfloat16=True)
    with torch.no_grad():
        next(iter(model.encoder.buffers())).mul_(1.5)
    store(model, clips, tmp_path)

    assert len(calls) == 3 * NUM_CLIPS
    assert len(folders_of(tmp_path)) == 3
    reasons = [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert reasons == ["those stored differ in precision", "those stored differ in weights"]


def test_of_two_that_write_at_the_same_time_one_waits(clips: ClipDataset, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    models = [tiny.tiny_model(PROCESSOR) for _ in range(2)]
    calls: list[int] = []
    begun = threading.Barrier(2)
    found: list[list[Tensor]] = []
    for model in models:
        model.encoder.temporal.register_forward_hook(lambda *_: calls.append(1))

    def work(model: Translator) -> None:
        begun.wait()
        found.append(list(store(model, clips, tmp_path)[0]))

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calls) == NUM_CLIPS
    assert_equal(*found)


def test_clips_are_read_by_other_processes_the_same(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, _ = counted
    alone = store(model, clips, tmp_path / "alone", 2)[1]
    helped = store(model, clips, tmp_path / "helped", 2, num_workers=2)[1]
    assert_equal(helped, alone)


def test_clips_are_encoded_side_by_side_the_same(clips: ClipDataset) -> None:
    encoder = tiny.tiny_model(PROCESSOR).encoder
    items = [(view, index) for view in range(2) for index in range(NUM_CLIPS)]
    threads: set[int] = set()
    encoder.register_forward_hook(lambda *_: threads.add(threading.get_ident()))

    alone = list(encode_clips(encoder, clips, items, bfloat16=False))
    assert threads == {threading.get_ident()}
    threads.clear()
    torch.set_num_threads(2)
    try:
        beside = list(encode_clips(encoder, clips, items, bfloat16=False))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)

    assert threads
    assert threading.get_ident() not in threads
    assert len(alone) == len(beside) == len(items)
    assert_equal(beside, alone)


def test_a_model_in_training_is_scored_in_eval_mode(
    counted: tuple[Translator, list[int]], clips: ClipDataset
) -> None:
    """Dev scores encode with an encoder that is not frozen and was in training a moment ago."""
    model, _ = counted
    items = [(0, index) for index in range(NUM_CLIPS)]
    expected = list(encode_clips(model.encoder, clips, items, bfloat16=False))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()

    found = list(encode_clips(model.encoder, clips, items, bfloat16=False))

    assert_equal(found, expected)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_bfloat16_features_are_near_and_read_in_float32(
    counted: tuple[Translator, list[int]], clips: ClipDataset, tmp_path: Path
) -> None:
    model, _ = counted
    exact = list(store(model, clips, tmp_path)[0])
    rounded = list(store(model, clips, tmp_path, bfloat16=True)[0])

    assert {row.dtype for row in rounded} == {torch.float32}
    worst = max(float((a - b).abs().max()) for a, b in zip(exact, rounded, strict=True))
    largest = max(float(row.abs().max()) for row in exact)
    assert 0 < worst < 0.05 * largest
    sizes = {path.parent: path.stat().st_size for path in shards_of(tmp_path)}
    assert max(sizes.values()) > 1.5 * min(sizes.values())  # what is bfloat16 is stored as that
