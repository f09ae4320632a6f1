"""An encoder from a package outside the repository: found, trained, saved, loaded, missed."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
import unglossed
from unglossed.errors import InputError
from unglossed.models.encoder import build_encoder
from unglossed.training.train import train_recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "encoder"
MODULE = "colour_encoder"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the example as pip would install it."""
    site = tmp_path / "site-packages"
    site.mkdir()
    shutil.copy(EXAMPLE / f"{MODULE}.py", site)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / f"{MODULE}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"[{group}]" for group in project["entry-points"]]
    lines += [f"{k} = {v}" for k, v in project["entry-points"]["unglossed.encoders"].items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return site


def recipe(path: Path, **config: Any) -> Path:
    """A stage that trains the encoder, and one that keeps it."""
    rest = {"learning_rates": {"adapter": 0.01, "language_model": 0.01}, "precision": "float32"}
    rest |= {"batch_size": 2, "epochs": 1, "adapter": {"config": {"hidden_dim": 32}}}
    light_t = {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}
    first = {"name": "first", "encoder": {"config": {"kind": "colours", **config}}, **rest}
    first["language_model"] = {"config": {"light_t": light_t}}
    first["learning_rates"] = {"encoder": 0.01, **rest["learning_rates"]}
    second = {"name": "second", "encoder": {"source": "first"}, **rest}
    second |= {"language_model": {"source": "first"}, "frozen": ["encoder"], "feature_views": 1}
    fields = {
        "seed": 1,
        "tokenizer": {"vocab_size": 120},
        "video": {"frame_share": 0.5, "resize": 36, "crop": 32},
        "decoding": {"max_new_tokens": 8},
        "stages": [first, second],
    }
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_example_is_trained_saved_and_loaded_from_its_package(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tiny.write_corpus(tmp_path / "corpus", num_train=4, num_dev=1)
    run = tmp_path / "run"

    train_recipe(recipe(tmp_path / "r.yaml", dim=16), corpus, run)

    translator = unglossed.load(run)
    assert type(translator.model.encoder).__module__ == MODULE
    assert translator.model.config.encoder == {"kind": "colours", "grid": 4, "dim": 16}
    clip = tiny.write_frames(tmp_path / "clip", 5)
    (found,) = translator.translate(clip)
    assert found.text

    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(package)])
    with pytest.raises(InputError) as raised:
        unglossed.load(run)
    message = str(raised.value)
    assert "encoder.kind: found 'colours', expected features, graph, streams, or an" in message
    assert "install the package" in message
    assert "\n" not in message


def test_a_clip_is_encoded_alike_alone_and_in_a_batch(package: Path) -> None:
    encoder = build_encoder({"kind": "colours", "grid": 2, "dim": 6}).eval()
    frames = torch.randint(0, 256, (7, 8, 8, 3), dtype=torch.uint8)

    together, mask = encoder(frames, torch.tensor([4, 3]))
    alone, _ = encoder(frames[4:], torch.tensor([3]))

    assert together.shape == (2, 4, encoder.output_dim)
    assert mask.tolist() == [[True] * 4, [True] * 3 + [False]]
    assert not together[1, 3].any()
    torch.testing.assert_close(together[1, :3], alone[0])
    assert encoder.input_limit(9) == 9


def refusal(tmp_path: Path, **config: Any) -> str:
    corpus = tiny.write_corpus(tmp_path / "corpus", num_train=2, num_dev=1)
    with pytest.raises(InputError) as raised:
        train_recipe(recipe(tmp_path / "r.yaml", **config), corpus, tmp_path / "run")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_kind_that_no_package_has_is_refused_before_training(
    package: Path, tmp_path: Path
) -> None:
    message = refusal(tmp_path, kind="colors")
    assert "stages.first.encoder.config: encoder.kind: found 'colors'" in message
    assert "(colours)" in message


def test_a_key_that_the_encoder_does_not_have_is_refused(package: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path, gird=3)
    assert "stages.first.encoder.config: encoder.gird: no such key, did you mean grid?" in message


def test_a_package_that_cannot_be_imported_is_named(package: Path, tmp_path: Path) -> None:
    (package / f"{MODULE}.py").write_text("import no_such_module\n")
    message = refusal(tmp_path)
    assert "'colours' (colour_encoder:ColourEncoder) cannot be imported: No module" in message


def test_what_is_not_an_encoder_is_refused(package: Path) -> None:
    (package / f"{MODULE}.py").write_text("ColourEncoder = dict\n")
    with pytest.raises(InputError, match=r"expected a subclass of unglossed\.models\.encoder"):
        build_encoder({"kind": "colours"})


def test_an_encoder_of_audio_needs_audio_in_the_recipe(package: Path, tmp_path: Path) -> None:
    tiny.edit(package / f"{MODULE}.py", "    defaults =", '    signal = "audio"\n    defaults =')
    assert "the recipe has no `audio`" in refusal(tmp_path)
