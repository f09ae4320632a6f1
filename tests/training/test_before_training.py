"""What a run refuses before its first stage, and what it is allowed to begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import tiny
from shrinking import stand_in
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.recipe import load_recipe
from unglossed.training.tokenizer import train_tokenizer
from unglossed.training.train import train_recipe

RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
# The pre-training of the language model alone, which reads no clip: eight small steps.
TEXT_ALONE = ["stages.1.skip=true", "stages.2.skip=true"]


def write_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(25):
            picture = np.full((32, 48, 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a table: clips of train, one of dev, and a last one of train as it is wanted."""

    def write_table(
        *, media: str = "talk.mp4", last: str = "", times: str = "0.5,1", dev: str = "dev"
    ) -> str:
        for name in {media, "talk.mp4"}:
            (write_sound if name.endswith(".wav") else write_video)(tmp_path / name)
        rows = [f"a{i},{media},regen {i},train,0,{(i + 1) / 4},de" for i in range(3)]
        rows.append(f"b,{media},schnee,{dev},,,de")
        rows.append(f"last,{last or media},wind,train,{times},de")
        lines = ["id,media,text,split,start,end,language", *rows]
        (tmp_path / "own.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"table:{tmp_path / 'own.csv'}"

    return write_table


def refused(spec: str, output: Path, *overrides: str) -> str:
    """The line that a run ends with, which leaves nothing."""
    with pytest.raises(InputError) as caught:
        train_recipe(RECIPE, spec, output, overrides=overrides)
    assert not output.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_language_that_scoring_does_not_know(write: Callable[..., str], tmp_path: Path) -> None:
    spec = write()
    path = tmp_path / "own.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",de\n", ",ase\n"), encoding="utf-8")
    message = refused(spec, tmp_path / "run")
    assert message.startswith(f"{spec}: language: found 'ase', expected that of the written text")


def test_a_corpus_without_dev(write: Callable[..., str], tmp_path: Path) -> None:
    spec = write(dev="test")
    message = refused(spec, tmp_path / "run")
    assert message.startswith(f"{spec}: no split 'dev', which `train` needs to choose the best")
    assert message.endswith("(found train, test)")


def test_sound_for_a_recipe_of_video_and_the_reverse(
    write: Callable[..., str], tmp_path: Path
) -> None:
    spec = write(media="talk.wav")
    message = refused(spec, tmp_path / "run")
    assert message == (
        f"{spec}: found audio only in all 1 media, such as {tmp_path / 'talk.wav'}, expected"
        " video: the recipe has no `audio`"
    )
    speech = "audio={audio_rate: 16000, max_seconds: 8}"
    frontend = f"stages.1.encoder={json.dumps({'config': {'frontend': tiny.FRONTEND}})}"
    message = refused(write(), tmp_path / "run", speech, frontend)
    assert "found video only in all 1 media" in message
    assert message.endswith("expected audio: the recipe has `audio`")


def empty(path: Path) -> None:
    path.touch()


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere.mp4"))


def html(path: Path) -> None:
    path.write_text("<html>404</html>")


@pytest.mark.parametrize("damage", [empty, dangling, html])
def test_media_that_cannot_be_read(
    write: Callable[..., str], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(tmp_path / "bad.mp4")
    spec, run = write(last="bad.mp4", times=","), tmp_path / "run"
    with pytest.raises(InputError, match=r"bad\.mp4.*"):
        train_recipe(RECIPE, spec, run, max_damaged=0)
    assert not run.exists()
    if damage is not dangling:  # what is not there is the table's fault
        train_recipe(RECIPE, spec, run, overrides=TEXT_ALONE)
        assert "bad.mp4" in (run / "skipped.jsonl").read_text(encoding="utf-8")


def test_a_segment_past_the_end_of_its_media(write: Callable[..., str], tmp_path: Path) -> None:
    message = refused(write(times="40,41"), tmp_path / "run")
    place = f"{tmp_path / 'talk.mp4'}, train clip 'last'"
    assert message == f"{place}: begins at 40.00 s, but talk.mp4 is only 1.00 s long"


def test_further_faults_are_counted(write: Callable[..., str], tmp_path: Path) -> None:
    write_sound(tmp_path / "bad.wav")
    empty(tmp_path / "bad.mp4")
    spec = write(last="bad.mp4", times=",")
    with (tmp_path / "own.csv").open("a", encoding="utf-8") as file:
        file.write("more,bad.wav,eis,train,,,de\n")
    message = refused(spec, tmp_path / "run")  # sound alone is no damage, and is never left out
    assert message.startswith(f"{tmp_path / 'bad.wav'}: found audio only, expected video")
    assert message.endswith("(and 1 more: see `unglossed corpus check`)")


def test_a_split_without_a_clip_that_can_be_read(write: Callable[..., str], tmp_path: Path) -> None:
    spec = write()
    empty(tmp_path / "bad.mp4")
    table = tmp_path / "own.csv"
    lines = table.read_text(encoding="utf-8").replace("b,talk.mp4", "b,bad.mp4")
    table.write_text(lines, encoding="utf-8")
    message = refused(spec, tmp_path / "run")
    assert "bad.mp4: the file is empty" in message
    assert ": found 1 of 5 clips that cannot be read" in message
    assert message.endswith("expected at most 5 (--max-damaged) and some in each split")


def test_what_check_warns_of_is_told_before_the_first_stage(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write()
    with (tmp_path / "own.csv").open("a", encoding="utf-8") as file:
        for name in ("c", "d"):  # twice the clip that is there already
            file.write(f"{name},talk.mp4,wind,train,0.5,1,de\n")
        file.write("e,talk.mp4,wind\u200b weht,train,0,0.7,de\n")
        file.write("f,talk.mp4,nÃ¶rdlich,train,0,0.8,de\n")
    train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE)
    notes = capsys.readouterr().err
    assert "note: the same clip under two ids: 2 (" in notes
    assert "note: odd characters in the text: 1 (train clip 'e': " in notes
    assert "note: text damaged by a wrong encoding: 1 (train clip 'f': " in notes
    train_recipe(RECIPE, spec, tmp_path / "other", overrides=TEXT_ALONE, check_media=False)
    assert "the same clip under two ids" not in capsys.readouterr().err


def test_media_of_test_are_not_looked_at(write: Callable[..., str], tmp_path: Path) -> None:
    empty(tmp_path / "bad.mp4")
    spec = write()
    with (tmp_path / "own.csv").open("a", encoding="utf-8") as file:
        file.write("more,bad.mp4,eis,test,,,de\n")
    assert train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE).is_dir()


def test_a_time_past_the_end_is_cut_and_noted(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write(times="0.5,1.5")
    train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE)
    note = f"note: time past the end of the media, cut there: 1 ({tmp_path / 'talk.mp4'}, train"
    assert note in capsys.readouterr().err


def test_who_does_not_want_the_media_looked_at(write: Callable[..., str], tmp_path: Path) -> None:
    empty(tmp_path / "bad.mp4")
    spec = write(last="bad.mp4", times=",")
    model = train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE, check_media=False)
    assert (model / "config.json").is_file()


@pytest.mark.parametrize("leftover", ["run.json", ".run.json.partial", ".recipe.yaml.partial"])
def test_a_run_killed_before_it_wrote_its_recipe_begins_anew(
    write: Callable[..., str], tmp_path: Path, leftover: str
) -> None:
    spec, output = write(), tmp_path / "run"
    output.mkdir()
    (output / "run.json").write_text(json.dumps({"corpus": spec}), encoding="utf-8")
    (output / leftover).write_text(json.dumps({"corpus": spec}), encoding="utf-8")

    with pytest.raises(InputError, match="not an empty folder"):
        train_recipe(RECIPE, spec, output, overrides=TEXT_ALONE)
    with pytest.raises(InputError, match="was trained on"):
        train_recipe(RECIPE, f"{spec}?language=de", output, resume=True, overrides=TEXT_ALONE)
    train_recipe(RECIPE, spec, output, resume=True, overrides=TEXT_ALONE)

    assert (output / "recipe.yaml").is_file()
    assert "torch" in json.loads((output / "run.json").read_text(encoding="utf-8"))


def test_media_that_got_lost_leave_a_resumed_run_as_it_was(
    write: Callable[..., str], tmp_path: Path
) -> None:
    spec, output = write(), tmp_path / "run"
    train_recipe(RECIPE, spec, output, overrides=TEXT_ALONE)
    before = sorted(path.name for path in output.iterdir())
    (tmp_path / "talk.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"its corpus changed .*: train: 4 clips with other media"):
        train_recipe(RECIPE, spec, output, resume=True, overrides=TEXT_ALONE)
    assert sorted(path.name for path in output.iterdir()) == before


def test_glosses_that_are_not_there(tmp_path: Path) -> None:
    spec = tiny.write_corpus(tmp_path / "corpus", 2, 1)
    stage = (
        "{name: recognition, objective: gloss_ctc, encoder: {config: {backbone: {model_type:"
        " resnet}}}, learning_rates: {encoder: 0.1, ctc_head: 0.1}, epochs: 1, batch_size: 1}"
    )
    for path in (tmp_path / "corpus").rglob("*.csv"):
        rows = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [
            "|".join([*row[:5], row[5] if n == 0 else "", row[6]]) for n, row in enumerate(rows)
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    message = refused(spec, tmp_path / "run", f"stages=[{stage}]")
    assert "found 2 of 2 train clips without glosses" in message
    assert message.endswith("expected glosses for stages.recognition")


def test_a_tokenizer_that_does_not_know_the_script(
    write: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "tokenizer"
    train_tokenizer(["明天北方有小雨", "今天夜里南部可能下雪"], "zh", 60).save_pretrained(folder)
    message = refused(write(), tmp_path / "run", f"tokenizer.pretrained={folder}", *TEXT_ALONE)
    assert message.startswith("tokenizer.pretrained: found ")
    assert "tokens to be <unk> (train clip 'a0': 'regen 0')" in message


def test_texts_that_a_tokenizer_changes_are_told_with_what_that_costs(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write()
    table = tmp_path / "own.csv"
    text = table.read_text(encoding="utf-8").replace(
        "schnee,dev", "schnee im norden und nebel!,dev"
    )
    table.write_text(text, encoding="utf-8")
    train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE)
    noted = capsys.readouterr().err
    assert "80.0% of 5 texts of train and dev come back unchanged from the tokenizer;" in noted
    assert "that of clip 'b', 'schnee im norden und nebel!', as " in noted
    assert " BLEU-4\n" in noted


def test_a_language_model_with_another_tokenizer(write: Callable[..., str], tmp_path: Path) -> None:
    folder = stand_in("mbart", tmp_path)
    source = f"stages.0.language_model={{source: {folder}}}"
    message = refused(write(), tmp_path / "run", source, *TEXT_ALONE)
    where = "stages.pretraining.language_model.source: its tokenizer differs from the run's"
    assert message.startswith(where)


def test_what_there_is_to_resume_is_told(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, output = write(), tmp_path / "run"
    train_recipe(RECIPE, spec, output, resume=True, overrides=TEXT_ALONE)
    assert f"note: {output}: no run to resume, a new one begins" in capsys.readouterr().err
    train_recipe(RECIPE, spec, output, resume=True, overrides=TEXT_ALONE)
    assert f"note: {output}: the run is finished" in capsys.readouterr().err


def test_a_text_that_is_longer_than_the_language_model(
    write: Callable[..., str], tmp_path: Path
) -> None:
    stage = "stages.0.language_model.config.max_position_embeddings=2"
    message = refused(write(), tmp_path / "run", *TEXT_ALONE, stage)
    assert "clip 'a0' has " in message
    assert "at most the 2 positions" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "stages.llm_fine_tuning.frozen=[encoder, language_model.model.encoder]",
            r"stages\.llm_fine_tuning\.frozen: found 'language_model\.model\.encoder': .*no attr",
        ),
        (
            "stages.llm_fine_tuning.frozen=[encoder, encoder.nose]",
            r"stages\.llm_fine_tuning\.frozen: found 'encoder\.nose': ",
        ),
        (
            "stages.llm_fine_tuning.language_model.lora={targets: [nose]}",
            r"stages\.llm_fine_tuning\.language_model: cannot be built: Target modules \{'nose'\}",
        ),
        (
            "stages.visual_initialing.encoder.config.temporal_kernel=0",
            r"stages\.visual_initialing\.encoder\.config\.temporal_kernel: found 0, expected a",
        ),
        (
            "stages.visual_initialing.language_model.config={light_t: {layers: 1, heads: 3,"
            " width: 32, ffn_dim: 64}}",
            r"stages\.visual_initialing\.language_model: cannot be built: embed_dim must be",
        ),
        (
            "stages.visual_initialing.encoder.config.backbone.hidden_act=nose",
            r"stages\.visual_initialing\.encoder\.config: cannot be built: ",
        ),
        (
            "stages.llm_fine_tuning.adapter.config.dropout=3",
            r"stages\.llm_fine_tuning\.adapter\.config\.dropout: found 3, expected a number from 0",
        ),
        (
            "stages.visual_initialing.language_model.config.attention_dropout=yes",
            r"language_model\.config\.attention_dropout: found True, expected a number from 0 to 1",
        ),
        (
            "stages.visual_initialing.language_model.config.init_std=.nan",
            r"language_model\.config\.init_std: found nan, expected a finite number",
        ),
        (
            "stages.pretraining.language_model.config.d_model=10000000",
            r"stages\.pretraining\.language_model: found a model of [\d,]{15,} weights, .* memory",
        ),
        (
            "stages.pretraining.language_model.config.vocab_size=100000000000",
            r"language_model\.config\.vocab_size: found 100000000000, expected at most 100,000,000",
        ),
        (
            "stages.pretraining.language_model.config.encoder_layers=100000000",
            r"language_model\.config\.encoder_layers: found 100000000, expected at most 1,000",
        ),
        (
            "stages.visual_initialing.encoder.config.temporal_dim=100000000",
            r"temporal_dim: found 100000000, expected a whole number above 0 and at most 1,000,000",
        ),
        (
            "stages.visual_initialing.encoder.config.backbone.depths=[1]",
            r"found depths of 1 stages and hidden_sizes of 2",
        ),
        (
            "stages.visual_initialing.adapter.config.hidden_dim=yes",
            r"adapter\.config\.hidden_dim: found True, expected a whole number above 0",
        ),
        (
            "stages.llm_fine_tuning.language_model.lora={targets: [q_proj, lm_head]}",
            r"language_model: cannot be built: lora\.targets: found 'lm_head', whose weight",
        ),
        (
            "stages.llm_fine_tuning.language_model.lora={targets: [embed_tokens]}",
            r"lora\.targets: found 'embed_tokens', whose weight .* is also that of ",
        ),
    ],
)
def test_what_a_later_stage_cannot_build_is_told_before_the_first(
    write: Callable[..., str], tmp_path: Path, change: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        train_recipe(RECIPE, write(), tmp_path / "run", overrides=[change])
    assert not (tmp_path / "run").exists()


def test_mistakes_of_several_stages_are_told_together(
    write: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "taken"
    file.write_text("", encoding="utf-8")
    overrides = [
        "stages.pretraining.language_model.config.nose=1",
        "stages.visual_initialing.adapter.config.nose=1",
        "stages.visual_initialing.encoder.config.nose=1",
    ]
    with pytest.raises(InputError) as caught:
        train_recipe(RECIPE, write(), tmp_path / "run", overrides=overrides, features=file)
    message = str(caught.value)
    assert message.startswith("4 mistakes: ")
    for part in ("pretraining.language_model", "visual_initialing.adapter", "initialing.encoder"):
        assert f"{part}.config.nose: no such key" in message
    assert f"{file}: expected a folder for stored features (--features {file})" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_place_that_cannot_hold_features_is_told_before_the_first_stage(
    write: Callable[..., str], tmp_path: Path, below: str
) -> None:
    file = tmp_path / "taken"
    file.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"taken: expected a folder for stored features"):
        train_recipe(RECIPE, write(), tmp_path / "run", features=file / below)
    assert not (tmp_path / "run").exists()


def test_features_that_no_stage_stores_are_told(
    write: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, store = write(), tmp_path / "store"
    train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE, features=store)
    told = f"note: --features {store}: has no effect: no stage has feature_views"
    assert told in capsys.readouterr().err


def test_a_model_knows_how_long_the_clips_of_train_are(write, tmp_path: Path) -> None:
    trained = train_recipe(RECIPE, write(), tmp_path / "run", overrides=TEXT_ALONE)
    found = TranslatorProcessor.from_pretrained(trained).trained_seconds
    lengths = {"clips": 4, "shortest": 0.25, "median": 0.5, "longest": 0.75, "cut": 0}
    assert found == lengths | {"limit": load_recipe(RECIPE, TEXT_ALONE).max_seconds}
    unseen = train_recipe(
        RECIPE, write(), tmp_path / "two", overrides=TEXT_ALONE, check_media=False
    )
    assert TranslatorProcessor.from_pretrained(unseen).trained_seconds is None
