"""Features by several machines: shares, holes, quarantine, and stores at a URL."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import tiny
from unglossed.cli import app
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.models.translator import Translator
from unglossed.models.visual import VisualEncoder
from unglossed.training.data import ClipDataset, LeftOut, Unreadable
from unglossed.training.encoding import Pace, encode_clips
from unglossed.training.extract import Extraction, extract_features, find_missing
from unglossed.training.features import FeatureCache, Wanted
from unglossed.training.shards import WHOLE, Share
from unglossed.training.storage import storage_at
from unglossed.training.train import train_recipe

RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
NUM_TRAIN, NUM_DEV, NUM_VIEWS = 7, 2, 2
NUM_FEATURES = NUM_TRAIN * NUM_VIEWS + NUM_DEV


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Changes of the recipe: its third stage alone, on an encoder that is there."""
    processor = tiny.tiny_processor()
    folder = tmp_path_factory.mktemp("model")
    tiny.tiny_model(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return [
        "stages.pretraining.skip=true",
        "stages.visual_initialing.skip=true",
        f"stages.llm_fine_tuning.encoder.source={folder}",
        "stages.llm_fine_tuning.language_model={config: {light_t: {layers: 1, heads: 2,"
        " width: 32, ffn_dim: 64}}}",
        "stages.llm_fine_tuning.epochs=1",
        f"stages.llm_fine_tuning.feature_views={NUM_VIEWS}",
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    return tiny.write_corpus(tmp_path / "corpus", NUM_TRAIN, NUM_DEV)


def clip_of(corpus: str, name: str) -> Path:
    root = Path(corpus.partition(":")[2]) / "PHOENIX-2014-T/features/fullFrame-210x260px"
    return root / name.partition("-")[0] / name


def last_picture(corpus: str, name: str) -> Path:
    return sorted(clip_of(corpus, name).iterdir())[-1]


def damage(corpus: str, name: str) -> Path:
    """Make a clip's last picture one that cannot be decoded; it has the size and time it had."""
    path = last_picture(corpus, name)
    before = path.stat()
    path.write_bytes(path.read_bytes()[:60].ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return path


def stored(folder: Path) -> dict[str, Tensor]:
    """All features in a store, by the name of their settings and their own; each is there once."""
    found: dict[str, Tensor] = {}
    for path in folder.glob("*/*.safetensors"):
        for name, values in load_file(path).items():
            key = f"{path.parent.name}/{name}"
            assert key not in found
            found[key] = values
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@contextmanager
def counted() -> Iterator[list[int]]:
    calls: list[int] = []

    def count(module: Any, arguments: Any, output: Any) -> None:
        if isinstance(module, VisualEncoder) or type(module).__name__ == "FastEncoder":
            calls.append(1)

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        yield calls
    finally:
        handle.remove()


def test_shares_together_store_what_one_machine_stores_and_none_does_anothers_work(
    corpus: str, overrides: list[str], tmp_path: Path
) -> None:
    extract_features(RECIPE, corpus, tmp_path / "whole", overrides=overrides)
    shared = tmp_path / "shared"
    done: list[Extraction] = []
    for index in (2, 0):
        share = Share(index, 3)
        done.append(extract_features(RECIPE, corpus, shared, overrides=overrides, share=share))
    missing, failed = find_missing(RECIPE, corpus, shared, overrides=overrides)
    assert missing == ["train-1", "train-4", "dev-1"]
    assert failed == []
    with counted() as calls:  # begun once more, by the same machine or another
        again = extract_features(RECIPE, corpus, shared, overrides=overrides, share=Share(2, 3))
    assert calls == []
    assert "nothing was left to encode" in str(again)
    done.append(extract_features(RECIPE, corpus, shared, overrides=overrides, share=Share(1, 3)))

    assert [one.pace.num_clips for one in done] == [2 * 2, 3 * 2 + 1, 2 * 2 + 1]
    assert_same(stored(shared), stored(tmp_path / "whole"))
    assert len(stored(shared)) == NUM_FEATURES
    assert find_missing(RECIPE, corpus, shared, overrides=overrides) == ([], [])


def small_shares(corpus: str) -> tuple[Translator, ClipDataset]:
    """A model, and clips of train that it encodes."""
    processor = tiny.tiny_processor()
    clips = ClipDataset(read_corpus(corpus).split("train"), processor, limit=8)
    return tiny.tiny_model(processor), clips


def wanted_of(model: Translator, clips: ClipDataset, place: Any, **settings: Any) -> Wanted:
    cache = FeatureCache(place, shard_bytes=1)
    return cache.wanted(model.encoder, model.config.encoder, clips, bfloat16=False, **settings)


def in_threads(work: Callable[[int], None]) -> None:
    """Do work number 0 and 1 at the same time; what one raises is raised."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))


def test_shares_do_not_wait_for_each_other(corpus: str, tmp_path: Path) -> None:
    both = [small_shares(corpus) for _ in range(2)]
    met = threading.Barrier(2, timeout=60)
    begun: set[int] = set()

    def work(index: int) -> None:
        def meet(*_: object) -> None:
            if index not in begun:
                begun.add(index)
                met.wait()

        wanted = wanted_of(*both[index], tmp_path)
        wanted.form.register_forward_hook(meet)
        wanted.encode(Share(index, 2))

    in_threads(work)

    assert len(stored(tmp_path)) == NUM_TRAIN


def test_processes_of_a_training_encode_a_share_each_and_collect_all(
    corpus: str, tmp_path: Path
) -> None:
    damage(corpus, "train-3")
    both = [small_shares(corpus) for _ in range(2)]
    met = threading.Barrier(2, timeout=60)
    left_out = [LeftOut(NUM_TRAIN, 1) for _ in range(2)]
    found: dict[int, Any] = {}

    def work(index: int) -> None:
        model, clips = both[index]
        (found[index],) = FeatureCache(tmp_path).features(
            *(model.encoder, model.config.encoder, clips),
            bfloat16=False,
            leave_out=left_out[index].add,
            share=Share(index, 2),
            wait=lambda: met.wait() and None,
        )

    in_threads(work)

    assert len(stored(tmp_path)) == NUM_TRAIN - 1
    assert [str(one) for one in left_out] == [f"1 of {NUM_TRAIN} clips"] * 2
    for rows in found.values():
        assert rows.readable() == [0, 1, 2, 4, 5, 6]
        assert all(torch.equal(rows[n], found[0][n]) for n in rows.readable())


def test_a_clip_that_is_not_there_fails_alone_and_is_encoded_once_it_is(
    corpus: str, tmp_path: Path
) -> None:
    model, clips = small_shares(corpus)
    clip = clip_of(corpus, "train-4")
    shutil.move(clip, tmp_path / "kept")
    failed: list[Unreadable] = []
    wanted_of(model, clips, tmp_path / "store").encode(leave_out=failed.append)
    assert [one.id for one in failed] == ["train-4"]
    wanted = wanted_of(model, clips, tmp_path / "store")
    assert wanted.missing() == {}
    assert [one.id for one in wanted.set_aside()] == ["train-4"]
    shutil.move(tmp_path / "kept", clip)
    assert list(wanted_of(model, clips, tmp_path / "store").missing()) == [(0, 4)]


def test_holes_of_lost_cut_and_damaged_shards_are_found_and_filled(
    corpus: str, tmp_path: Path
) -> None:
    model, clips = small_shares(corpus)
    wanted_of(model, clips, tmp_path).encode()
    expected = {name: values.clone() for name, values in stored(tmp_path).items()}
    lost, cut, wrong, *_ = sorted(tmp_path.glob("*/*.safetensors"))
    lost.unlink()
    data = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(data[:-3])
    data = wrong.read_bytes()
    wrong.unlink()
    wrong.write_bytes(data[:-3] + b"\1\2\3")

    assert len(wanted_of(model, clips, tmp_path).missing()) == 2  # by headers and sizes
    assert len(wanted_of(model, clips, tmp_path, check=True).missing()) == 3
    for index in range(2):
        wanted_of(model, clips, tmp_path, share=Share(index, 2)).encode()
    assert_same(stored(tmp_path), expected)


def test_clips_that_fail_are_set_aside_with_the_reason_and_trained_without(
    corpus: str, overrides: list[str], tmp_path: Path
) -> None:
    features = tmp_path / "features"
    picture = last_picture(corpus, "train-1")
    whole = picture.read_bytes()
    for name in ("train-1", "train-2", "dev-1"):
        damage(corpus, name)
    settings: dict[str, Any] = {"overrides": overrides, "check_media": False}
    for index in range(2):
        done = extract_features(RECIPE, corpus, features, share=Share(index, 2), **settings)
        assert list(done.set_aside) == [["train-2"], ["train-1", "dev-1"]][index]
    rows: dict[str, list[dict[str, str]]] = {}
    for path in features.glob("*/quarantine*.jsonl"):
        rows.setdefault(path.name, [])
        rows[path.name] += map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert rows.keys() == {"quarantine-1-of-2.jsonl", "quarantine-2-of-2.jsonl"}
    assert [row["id"] for row in rows["quarantine-1-of-2.jsonl"]] == ["train-2"]  # once, two views
    assert {row["id"] for row in rows["quarantine-2-of-2.jsonl"]} == {"train-1", "dev-1"}
    assert all("images" in row["reason"] for found in rows.values() for row in found)

    with counted() as calls:
        extract_features(RECIPE, corpus, features, **settings)
        missing, failed = find_missing(RECIPE, corpus, features, overrides=overrides)
        assert calls == []
    assert missing == []
    assert {clip.id for clip in failed} == {"train-1", "train-2", "dev-1"}
    with pytest.raises(InputError, match=r"found 3 of 9 clips .* at most 2 \(--max-damaged\)"):
        train_recipe(
            *(RECIPE, corpus, tmp_path / "strict"),
            features=features,
            overrides=overrides,
            check_media=False,
            max_damaged=2,
        )
    train_recipe(
        *(RECIPE, corpus, tmp_path / "run"),
        features=features,
        overrides=overrides,
        check_media=False,
    )
    listed = (tmp_path / "run" / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["id"] for line in listed} == {"train-1", "train-2", "dev-1"}

    before = picture.stat()
    picture.write_bytes(whole)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))  # mended, with the same time
    with counted() as calls:
        done = extract_features(RECIPE, corpus, features, retry=True, **settings)
        assert len(calls) == NUM_VIEWS
    assert set(done.set_aside) == {"train-2", "dev-1"}
    _, failed = find_missing(RECIPE, corpus, features, overrides=overrides)
    assert {clip.id for clip in failed} == {"train-2", "dev-1"}


def test_where_too_many_fail_none_is_set_aside(
    corpus: str, overrides: list[str], tmp_path: Path
) -> None:
    """A disk that went away is no reason to leave its clips out for good."""
    for number in range(3):
        damage(corpus, f"train-{number}")
    with pytest.raises(InputError, match="at most 1 "):
        extract_features(
            *(RECIPE, corpus, tmp_path / "features"),
            overrides=overrides,
            check_media=False,
            max_damaged=1,
        )
    missing, failed = find_missing(RECIPE, corpus, tmp_path / "features", overrides=overrides)
    assert failed == []
    assert "train-0" in missing
    assert "train-2" in missing


@pytest.mark.parametrize("where", ["reading", "encoding"])
def test_whatever_a_clip_raises_is_a_reason(where: str, corpus: str) -> None:
    model, clips = small_shares(corpus)

    def fail(module: Any, arguments: Any, output: Any) -> None:
        if int(arguments[1].sum()) == 4:  # of clips of seven and eight frames
            raise ArithmeticError("a fault\nof two lines")

    items = [(0, index) for index in range(NUM_TRAIN)]
    if where == "reading":
        failing = clips.samples[1].text
        clips.target = lambda sample: [1] if sample.text != failing else [1 // 0]
    else:
        model.encoder.register_forward_hook(fail)

    rows = list(encode_clips(model.encoder, clips, items, bfloat16=False, go_on=True))

    failed = [row for row in rows if isinstance(row, Unreadable)]
    assert failed[0].id == "train-1"
    assert len(failed) < NUM_TRAIN
    kind = "ZeroDivisionError" if where == "reading" else "ArithmeticError: a fault of two lines"
    assert kind in failed[0].reason
    with pytest.raises(ArithmeticError):
        list(encode_clips(model.encoder, clips, items, bfloat16=False))


def test_the_command_lists_holes_and_tells_by_its_exit_code(
    corpus: str, overrides: list[str], tmp_path: Path
) -> None:
    words = ["extract", str(RECIPE), *overrides, "--corpus", corpus]
    words += ["--output", str(tmp_path / "features")]
    runner = CliRunner()
    done = runner.invoke(app, [*words, "--shard", "2/2"])
    assert done.exit_code == 0, done.output
    line = done.stdout.splitlines()[-1]
    assert line.startswith(f"{tmp_path / 'features'}: {2 * 3 + 1} views of clips, ")
    assert "clips/s" in line
    assert "frames/s" in line
    assert "% of the time waiting for media" in line
    found = runner.invoke(app, [*words, "--missing"])
    assert found.exit_code == 1
    assert found.stdout.splitlines() == ["train-0", "train-2", "train-4", "train-6", "dev-0"]
    assert found.stderr.splitlines() == ["5 clips to do"]
    found = runner.invoke(app, [*words, "--missing", "--shard", "2/2"])
    assert (found.exit_code, found.stdout) == (0, "")


def test_ray_that_is_not_installed_is_told_before_the_work(
    corpus: str, overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"no package ray: pip install 'unglossed\[cluster\]'"):
        extract_features(RECIPE, corpus, tmp_path / "out", overrides=overrides, ray="local")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", "½/2"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected i/n with i from 1 to n"):
        Share.parse(text)


def test_shares_are_the_whole(corpus: str) -> None:
    assert Share.parse("1/1") == WHOLE
    items = list(range(11))
    for count in (1, 2, 4, 13):
        parts = [Share.parse(f"{number}/{count}").of(items) for number in range(1, count + 1)]
        assert sorted(item for part in parts for item in part) == items
        assert all(Share(number, count).has(n) for number, part in enumerate(parts) for n in part)


def test_waiting_is_the_time_in_which_nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("unglossed.training.encoding.time.monotonic", lambda: now[0])

    def read() -> Iterator[int]:
        for number in range(3):
            now[0] += 10
            yield number

    ends = iter([0.0, 14.0, float("inf"), float("inf")])  # none yet, in the middle, goes on
    pace = Pace()
    assert list(pace.timed(read(), lambda: next(ends))) == [0, 1, 2]
    assert pace.waited == 10 + 6


# Stores at a URL.


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("UNGLOSSED_CACHE", str(tmp_path / "copies"))
    yield "memory://bucket/features"
    memory = fsspec.filesystem("memory")
    memory.rm("/bucket", recursive=True)


def test_a_store_at_a_url_is_filled_by_shares_and_trained_from(
    corpus: str, overrides: list[str], tmp_path: Path, url: str
) -> None:
    damage(corpus, "train-3")
    settings: dict[str, Any] = {"overrides": overrides, "check_media": False}
    extract_features(RECIPE, corpus, url, share=Share(0, 2), **settings)
    assert find_missing(RECIPE, corpus, url, overrides=overrides)[0] == [
        *("train-1", "train-3", "train-5", "dev-1")
    ]
    extract_features(RECIPE, corpus, url, share=Share(1, 2), **settings)
    missing, failed = find_missing(RECIPE, corpus, url, overrides=overrides)
    assert missing == []
    assert [clip.id for clip in failed] == ["train-3"]
    assert not (tmp_path / "copies").exists()  # headers alone were read

    with counted() as calls:
        train_recipe(RECIPE, corpus, tmp_path / "run", features=url, **settings)
        train_recipe(RECIPE, corpus, tmp_path / "run", resume=True, **settings)
    assert calls == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["features"] == url
    here = tmp_path / "here"
    extract_features(RECIPE, corpus, here, **settings)
    copies = {path.name: load_file(path) for path in tmp_path.glob("copies/*/*.safetensors")}
    found = {name: values for one in copies.values() for name, values in one.items()}
    assert_same(found, {name.partition("/")[2]: value for name, value in stored(here).items()})


def test_a_damaged_object_and_a_damaged_copy_are_computed_again(
    corpus: str, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = fsspec.filesystem("memory")
    model, clips = small_shares(corpus)
    wanted_of(model, clips, url).encode()
    path = memory.glob("/bucket/features/*/*.safetensors")[0]
    memory.pipe_file(path, memory.cat_file(path)[:-3])
    found = FeatureCache(url).features(
        *(model.encoder, model.config.encoder, clips), bfloat16=False
    )
    expected = [row.clone() for row in found[0]]
    copy = next(tmp_path.glob("copies/*/*.safetensors"))
    data = copy.read_bytes()
    copy.unlink()
    copy.write_bytes(data[:-3] + b"\1\2\3")
    found = FeatureCache(url).features(
        *(model.encoder, model.config.encoder, clips), bfloat16=False
    )

    assert capsys.readouterr().err.count("is damaged; its features are computed anew") == 1
    assert copy.read_bytes() == data
    assert all(torch.equal(*pair) for pair in zip(found[0], expected, strict=True))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://bucket/features", "expected the package s3fs: pip install s3fs"),
        ("gs://bucket/features", "expected the package gcsfs: pip install gcsfs"),
        ("nothing://bucket", "Protocol not known: nothing"),
    ],
)
def test_a_url_that_cannot_be_opened_is_one_line(
    place: str, said: str, corpus: str, overrides: list[str]
) -> None:
    with pytest.raises(InputError, match=said):
        extract_features(RECIPE, corpus, place, overrides=overrides)


def test_a_storage_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = storage_at("memory://bucket/features")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    for name in ("ls", "cat_file", "pipe_file"):
        monkeypatch.setattr(type(store.files_at), name, fail)
    calls: list[Callable[[], object]] = [
        store.files,
        store.folders,
        lambda: store.read("one"),
        lambda: store.write("one", b""),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"memory://bucket/features.*no credentials"):
            call()
