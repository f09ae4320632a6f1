"""Extraction on a Ray cluster: the store of one process, whatever becomes of the workers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.training.cluster import LOCAL, Cluster, Tally, connected, import_ray
from unglossed.training.data import ClipDataset, Unreadable
from unglossed.training.features import FeatureCache, Wanted

pytest.importorskip("ray.data")
pytestmark = pytest.mark.slow
NUM_CLIPS = 12

# A module that the workers import, whose clips end their process or raise.
HOSTILE = """
import os, signal
from pathlib import Path
from unglossed.training.data import ClipDataset

class Hostile(ClipDataset):
    once, always, raises, log = "", "", "", ""

    def __getitem__(self, item):
        name = self.samples[item[1]].id
        with open(self.log, "a") as file:
            print(name, file=file)
        mark = Path(self.log + ".died")
        if name == self.always or (name == self.once and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name == self.raises:
            raise ArithmeticError("of this clip")
        return super().__getitem__(item)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "hostile_clips.py").write_text(HOSTILE)
    here = [str(folder), str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*here, os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(str(folder))
        with connected(LOCAL, 2) as found:
            yield found


def test_workers_give_way_no_more_than_the_command(cluster: Cluster) -> None:
    ray = import_ray()

    def niceness() -> int:
        return os.nice(0)

    assert ray.get(ray.remote(niceness).remote()) == os.nice(0)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), NUM_CLIPS, 1)


def wanted_of(spec: str, folder: Path, **hostile: str) -> Wanted:
    processor = tiny.tiny_processor()
    samples = read_corpus(spec).split("train")
    if hostile:
        from hostile_clips import Hostile

        clips: ClipDataset = Hostile(samples, processor, limit=8)
        vars(clips).update(hostile)
    else:
        clips = ClipDataset(samples, processor, limit=8)
    model = tiny.tiny_model(processor)
    torch.set_num_threads(1)
    return FeatureCache(folder).wanted(
        model.encoder, model.config.encoder, clips, 1, bfloat16=False
    )


def stored(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in folder.glob("*/*.safetensors"):
        for name, values in load_file(path).items():
            assert name not in found
            found[name] = values
    return found


def files(folder: Path) -> dict[str, bytes]:
    paths = folder.glob("*/*.safetensors")
    return {path.name.partition("-")[2]: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def serial(spec: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    folder = tmp_path_factory.mktemp("serial")
    wanted_of(spec, folder).encode()
    return stored(folder)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_killed_worker_costs_its_work_in_flight_and_nothing_else(
    spec: str, serial: dict[str, Tensor], cluster: Cluster, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    pace = wanted_of(spec, whole).encode(compute=cluster.compute)
    assert pace.num_clips == NUM_CLIPS
    assert_same(stored(whole), serial)

    log = tmp_path / "log"
    wanted = wanted_of(spec, tmp_path / "killed", once="train-7", log=str(log))
    told: list[int] = []
    wanted.encode(compute=cluster.compute, advance=told.append)

    assert (tmp_path / "log.died").exists()
    assert sum(told) == NUM_CLIPS
    assert_same(stored(tmp_path / "killed"), serial)
    assert files(tmp_path / "killed") == files(whole)  # handfuls are the same, so are their shards
    read = log.read_text().split()[1:]  # the driver looks at the first clip
    assert len(read) <= NUM_CLIPS + 2  # a handful of two, begun again
    assert wanted.missing() == {}


def test_a_clip_that_fails_is_set_aside_and_one_that_kills_every_worker_too(
    spec: str, serial: dict[str, Tensor], cluster: Cluster, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    hostile = {"always": "train-3", "raises": "train-5", "log": str(log)}
    wanted = wanted_of(spec, tmp_path, **hostile)
    failed: list[Unreadable] = []

    wanted.encode(compute=cluster.compute, leave_out=failed.append)

    assert log.read_text().split().count("train-3") == 3
    reasons = {one.id: one.reason for one in failed}
    assert reasons.keys() == {"train-3", "train-5"}
    assert "3 workers died over it" in reasons["train-3"]
    assert "ArithmeticError: of this clip" in reasons["train-5"]
    assert len(stored(tmp_path)) == NUM_CLIPS - 2
    assert all(torch.equal(values, serial[name]) for name, values in stored(tmp_path).items())
    (path,) = tmp_path.glob("*/quarantine.jsonl")
    assert {json.loads(line)["id"] for line in path.read_text().splitlines()} == set(reasons)
    again = wanted_of(spec, tmp_path, **hostile)
    assert again.missing() == {}
    again.encode(compute=cluster.compute)
    assert log.read_text().split().count("train-3") == 3


def test_more_failures_than_may_be_end_the_work(
    spec: str, cluster: Cluster, tmp_path: Path
) -> None:
    wanted = wanted_of(spec, tmp_path, raises="train-0", log=str(tmp_path / "log"))
    with pytest.raises(InputError, match="ArithmeticError: of this clip"):
        wanted.encode(compute=cluster.compute)


def test_an_actor_that_cannot_begin_ends_the_work_in_a_line(
    spec: str, cluster: Cluster, tmp_path: Path
) -> None:
    wanted: Any = wanted_of(spec, tmp_path)
    wanted.form.engine = "another"
    with pytest.raises(InputError, match=r"computes features by .*, expected another") as caught:
        wanted.encode(compute=cluster.compute)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999999"])
def test_an_address_where_nobody_answers_is_told_at_once(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(InputError, match="no cluster can be reached"), connected(address):
        pass


def test_a_tally_counts_what_was_begun_and_not_ended() -> None:
    tally = Tally()
    assert [tally.begin("a"), tally.begin("a"), tally.begin("b")] == [0, 1, 0]
    tally.end("a")
    tally.end("c")
    assert [tally.begin("a"), tally.begin("b")] == [0, 1]
