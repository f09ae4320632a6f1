"""One corpus read as several signals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.common import PRETRAINING
from experiments.signals import LOST, NOISE, NOISY, System, run, tell, worsen, write_noisy
from unglossed.corpora.registry import read_corpus
from unglossed_synth.corpus import write_corpus
from unglossed_synth.landmarks import LANDMARKS


def test_noisy_poses_are_off_by_a_share_of_the_picture_and_some_points_are_lost() -> None:
    exact = np.zeros((200, 70, 2), np.float32)

    noisy = worsen(exact, 84.0, np.random.default_rng(0))

    lost = np.isnan(noisy).all(axis=2)
    assert (np.isnan(noisy).any(axis=2) == lost).all()
    assert lost.mean() == pytest.approx(LOST, abs=0.01)
    assert np.nanstd(noisy) == pytest.approx(NOISE * 84, rel=0.02)


def test_pictures_and_poses_of_the_same_clips_are_trained_on_and_scored(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_corpus(
        *(corpus, 24, 0),
        width=32,
        height=40,
        level=1,
        landmarks=True,
        progress=False,
        num_workers=1,
    )
    write_noisy(corpus, 0, 32.0)
    systems = {
        "pictures": System("demo", None, (1, 1)),
        "noisy poses": System("pose", NOISY, (1, 1)),
    }
    changes = ("extra_texts=null", f"stages.{PRETRAINING}.epochs=1", "num_workers=0")

    output = tmp_path / "out"
    found = run(corpus, "phoenix14t", output / "seed-0", 0, list(systems), changes, systems)

    assert sorted(path.name for path in (corpus / NOISY).rglob("*.npz")) == sorted(
        path.name for path in (corpus / LANDMARKS).rglob("*.npz")
    )
    assert found == json.loads((output / "seed-0" / "signals.json").read_text("utf-8"))
    for facts in found.values():
        assert facts["seconds"] > 0
        assert {"whole", "shuffled", "blank"} == set(facts["test"])
    rows = [
        line.split(" | ") for line in tell(output, read_corpus(f"phoenix14t:{corpus}")).split("\n")
    ]
    assert [row[:2] for row in rows[2:]] == [
        [f"| {name}", split] for split in ("test_seen", "test") for name in systems
    ]
    assert [bool(row[5]) for row in rows[2:]] == [False, True] * 2
