"""The demo of speech at a small size: the same way as the demo of signing, over other parts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import llama_gguf
from experiments import demo_speech
from experiments.demo import ONE_STAGE, STAGE_1, STAGE_2
from experiments.demo_speech import FROM_NOTHING, run_demo_speech
from shrinking import shrink, stand_in
from unglossed.errors import InputError
from unglossed.evaluation.report import ScoreRow
from unglossed.inference.translator import SignTranslator
from unglossed.training.recipe import load_recipe

NUM_SENTENCES = 24
STAGES = [stage.name for stage in load_recipe("lst_demo").stages]


def small(models: Path, *, frontend: bool) -> list[str]:
    """Changes of the recipe; sources are the experiment's business."""
    changes = shrink("lst_demo", models)
    taken = ("tokenizer.pretrained", "language_model.source", "modality_adjustment.encoder.source")
    return [
        *(item for item in changes if not any(word in item.partition("=")[0] for word in taken)),
        "decoding.max_new_tokens=8",
        *(f"stages.{name}.precision=float32" for name in STAGES[1 if frontend else 0 :]),
    ]


def speak(output: Path, models: Path, frontend: str | None, *changes: str) -> list[ScoreRow]:
    return run_demo_speech(
        output,
        3,
        frontend=frontend,
        model=str(models / "tiny.gguf"),
        num_sentences=NUM_SENTENCES,
        overrides=[*small(models, frontend=frontend not in (None, FROM_NOTHING)), *changes],
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    llama_gguf.write_llama(folder / "tiny.gguf")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, models: Path) -> tuple[Path, list[ScoreRow]]:
    """A run on a frontend from a folder, and its rows."""
    output = tmp_path_factory.mktemp("runs") / "speech"
    return output, speak(output, models, stand_in("whisper", models))


@pytest.mark.slow
def test_it_goes_from_nothing_to_a_translated_recording(
    run: tuple[Path, list[ScoreRow]],
) -> None:
    output, rows = run
    assert {(row.system, row.split) for row in rows if not row.yardstick} == {
        (system, split) for system in (STAGE_1, STAGE_2) for split in ("test", "test_seen")
    }
    yardsticks = {row.system for row in rows if row.yardstick}
    assert {"stage 2, recordings shuffled", "text alone"} < yardsticks
    told = json.loads((output / "demo_speech.json").read_text(encoding="utf-8"))
    metrics = json.loads((output / "evaluation/test-stage-2/metrics.json").read_text())
    found = {(row["system"], row["split"]): row["bleu4"] for row in told["rows"]}
    assert found[STAGE_2, "test"] == metrics["bleu4"]
    assert (output / "new.wav").stat().st_size > 16000
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "://" not in page.replace("http://www.w3.org/", "")
    assert re.search(r"\d\.\d s, [\d,]{5,} samples", page)
    assert page.count("data:image/jpeg") == 8 * (1 + min(10, len(predictions_of(output))))


def predictions_of(output: Path) -> list[str]:
    lines = (output / "evaluation/test_seen-stage-2/predictions.jsonl").read_text(encoding="utf-8")
    return lines.splitlines()


@pytest.mark.slow
def test_frontend_and_language_model_stay_but_for_what_each_stage_trains(
    run: tuple[Path, list[ScoreRow]], models: Path
) -> None:
    output, _ = run
    first, second = (
        load_file(output / f"run/{place}-{name}/model/model.safetensors")
        for place, name in enumerate(STAGES[1:], start=1)
    )
    published = load_file(Path(stand_in("whisper", models)) / "model.safetensors")
    heard = {n: w for n, w in first.items() if n.startswith("encoder.")}
    assert heard
    for name, weight in heard.items():
        assert torch.equal(weight, second[name]), name
        assert any(torch.equal(weight, w) for w in published.values() if w.shape == weight.shape)
    # Stage 1: the rows of the two new tokens alone; stage 2: LoRA beside the weights.
    before = load_file(output / "tiny" / "model.safetensors")
    table = "model.embed_tokens.weight"
    rows = len(before[table])
    for name, weight in before.items():
        told = first[f"language_model.model.{name}"]
        assert torch.equal(told[:rows] if name == table else told, weight), name
    new = first[f"language_model.model.{table}"][rows:]
    mean = before[table].mean(0)
    assert len(new) >= 2
    assert not torch.equal(new[0], mean)
    assert any(".lora_B." in name and weight.any() for name, weight in second.items())


@pytest.mark.slow
def test_a_second_call_trains_nothing_again(run: tuple[Path, list[ScoreRow]], models: Path) -> None:
    output, rows = run
    kept = [output / name for name in ("run/model/config.json", "corpus/generated.json")]
    before = [path.stat().st_mtime_ns for path in kept]
    again = speak(output, models, stand_in("whisper", models))
    assert [row.scores.bleu4 for row in again] == [row.scores.bleu4 for row in rows]
    assert [path.stat().st_mtime_ns for path in kept] == before


@pytest.mark.slow
def test_the_command_line_translates_sound_with_its_model(
    run: tuple[Path, list[ScoreRow]],
) -> None:
    output, _ = run
    translator = SignTranslator.from_pretrained(output / "run")
    one, two = translator.translate([output / "new.wav"] * 2, max_new_tokens=4)
    assert one.text == two.text


@pytest.mark.slow
def test_without_a_frontend_it_says_how_to_get_one_and_trains_a_small_one(
    tmp_path: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo_speech, "FRONTEND", "unglossed/no-such-model")
    rows = speak(tmp_path / "speech", models, None)
    shown = " ".join(capsys.readouterr().out.split())
    assert "FRONTEND=DIR" in shown
    assert demo_speech.FRONTEND in shown
    stages = sorted(path.name for path in (tmp_path / "speech/run").glob("[0-9]-*"))
    assert stages == [f"{place}-{name}" for place, name in enumerate(STAGES, start=1)]
    assert {row.system for row in rows if not row.yardstick} == {STAGE_1, STAGE_2}


@pytest.mark.slow
def test_a_run_of_one_stage_is_scored_alone(tmp_path: Path, models: Path) -> None:
    output = tmp_path / "speech"
    change = "stages.downstream_tuning.skip=true"

    rows = speak(output, models, stand_in("whisper", models), change)

    assert {row.system for row in rows if not row.yardstick} == {ONE_STAGE}
    assert "one stage, recordings shuffled" in {row.system for row in rows}
    assert (output / "evaluation/test-stage-1/metrics.json").is_file()
    assert ONE_STAGE in (output / "report.html").read_text(encoding="utf-8")


def test_a_frontend_that_is_none_is_refused(tmp_path: Path, models: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(InputError, match=f"--frontend: {gone}"):
        speak(tmp_path / "speech", models, str(gone))
    with pytest.raises(InputError, match=r"--frontend: .*found no speech model"):
        speak(tmp_path / "speech", models, stand_in("Llama-2", models))


@pytest.mark.slow
def test_a_frontend_may_be_a_folder_here(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(stand_in("whisper", models))
    monkeypatch.chdir(folder.parent)
    change = "stages.downstream_tuning.skip=true"
    speak(tmp_path / "speech", models, folder.name, change)
    assert (tmp_path / "speech/run/model/config.json").is_file()
