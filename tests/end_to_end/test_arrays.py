"""Two stages on features and on poses: trained, evaluated, translated from the saved folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import unglossed
from unglossed.errors import InputError
from unglossed.training.train import train_recipe

WORDS = "regen sonne wind wolken norden süden morgen heute".split()
SMALL = {"dim": 16, "layers": 1, "heads": 2, "ffn_dim": 32, "temporal_pools": [2], "edge_frames": 4}
OF_FEATURES = {"dim": 6}, {"kind": "features", **SMALL}
OF_POSES = (
    {
        "skeleton": "coco_wholebody",
        "channels": ["x", "y", "confidence"],
        "augmentation": {"mirror": 0.5, "rates": [25, 50], "drop_frames": 0.1},
    },
    {"kind": "graph", "point_dim": 8, **SMALL},
)


def write_corpus(folder: Path) -> str:
    """Clips (time, 6) in `features`, and poses of 133 points in `poses`, of the same sentences."""
    rng = np.random.default_rng(0)
    rows = ["id,media,text,split"]
    for number in range(10):
        length = int(rng.integers(20, 40))
        points = 100 * rng.random((length, 133, 3)).astype(np.float32) + 1
        points[..., 2] = rng.random((length, 133)) > 0.1
        for kind, values in (("features", rng.normal(size=(length, 6))), ("poses", points)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            np.save(folder / kind / f"c{number}.npy", values.astype(np.float32))
        split = "train" if number < 6 else "dev" if number < 8 else "test"
        rows.append(f"c{number},c{number}.npy,{' '.join(rng.choice(WORDS, 4))},{split}")
    (folder / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    return f"table:{folder / 't.csv'}?language=de&media="


def recipe(path: Path, array: dict[str, Any], encoder: dict[str, Any]) -> Path:
    rest: dict[str, Any] = {"batch_size": 3, "epochs": 1, "precision": "float32"}
    rest |= {"learning_rates": {"adapter": 0.01, "language_model": 0.01}}
    rest |= {"adapter": {"config": {"hidden_dim": 32}}}
    light_t = {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}
    first = {"name": "first", "encoder": {"config": encoder}, **rest}
    first["language_model"] = {"config": {"light_t": light_t}}
    first["learning_rates"] = {"encoder": 0.01, **rest["learning_rates"]}
    second = {"name": "second", "encoder": {"source": "first"}, **rest}
    second |= {"language_model": {"source": "first"}, "frozen": ["encoder"], "feature_views": 2}
    fields = {"seed": 1, "tokenizer": {"vocab_size": 120}, "array": array}
    fields |= {"decoding": {"max_new_tokens": 8}, "stages": [first, second]}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["features", "poses"])
def test_arrays_are_trained_on_evaluated_and_translated(kind: str, tmp_path: Path) -> None:
    spec = write_corpus(tmp_path / "corpus") + str(tmp_path / "corpus" / kind)
    run = tmp_path / "run"
    parts = OF_FEATURES if kind == "features" else OF_POSES

    train_recipe(recipe(tmp_path / "r.yaml", *parts), spec, run)

    saved = json.loads((run / "model" / "processor_config.json").read_text())
    assert saved["array"]["rate"] == 25.0
    score = unglossed.evaluate(run, spec, "test", tmp_path / "scores")
    assert 0 <= score.bleu4 <= 100
    clip = tmp_path / "corpus" / kind / "c9.npy"
    translator = unglossed.load(run)
    (found,) = translator.translate(clip)
    assert found.text
    (again,) = translator.translate([clip, tmp_path / "corpus" / kind / "c8.npy"])[:1]
    assert again.text == found.text
    np.save(tmp_path / "wrong.npy", np.ones((30, 5), np.float32))
    with pytest.raises(InputError, match=r"wrong\.npy: found an array \(30, 5\), expected"):
        translator.translate(tmp_path / "wrong.npy")


@pytest.mark.slow
def test_longer_clips_are_cut(tmp_path: Path) -> None:
    spec = write_corpus(tmp_path / "corpus") + str(tmp_path / "corpus" / "features")
    run = tmp_path / "run"
    array = {**OF_FEATURES[0], "max_seconds": 0.5}
    train_recipe(recipe(tmp_path / "r.yaml", array, OF_FEATURES[1]), spec, run)
    (found,) = unglossed.load(run).translate(tmp_path / "corpus" / "features" / "c9.npy")
    assert "cut to 0.5" in str(found.notes)


@pytest.mark.parametrize(
    ("array", "encoder", "told"),
    [
        (None, OF_FEATURES[1], r"encoder\.config\.kind: found features, expected array\.dim"),
        (OF_POSES[0], OF_FEATURES[1], r"kind: found features, expected array\.dim"),
        (OF_FEATURES[0], OF_POSES[1], r"kind: found graph, expected array\.skeleton"),
        (
            OF_FEATURES[0],
            {"kind": "features", "heads": 5},
            "dim: found 512, expected an even multiple of heads, 5",
        ),
        (OF_FEATURES[0], {"kind": "features", "dims": 4}, "dims: no such key, did you mean dim"),
        (OF_FEATURES[0], {"kind": "features", "layers": -1}, "layers: found -1, expected a whole"),
        ({"dim": 6, "rat": 3}, OF_FEATURES[1], r"array\.rat: "),
    ],
)
def test_encoders_that_do_not_fit_the_arrays_are_refused(
    array: Any, encoder: dict[str, Any], told: str, tmp_path: Path
) -> None:
    spec = write_corpus(tmp_path / "corpus") + str(tmp_path / "corpus" / "features")
    with pytest.raises(InputError, match=told) as raised:
        train_recipe(recipe(tmp_path / "r.yaml", array, encoder), spec, tmp_path / "run")
    assert "\n" not in str(raised.value)
