"""`?media=none`: corpora of annotation files alone, which texts need and clips do not."""

import json
import shutil
from dataclasses import replace

import pytest
import yaml
from typer.testing import CliRunner

import tiny
from fuzz.targets import TARGETS
from unglossed.cli import app
from unglossed.corpora.check import check_corpus
from unglossed.corpora.registry import _READERS, read_corpus
from unglossed.corpora.stats import corpus_stats
from unglossed.errors import InputError

SPECS = {
    "phoenix14t": ("phoenix14t", "phoenix14t:pt"),
    "csl_daily": ("csl_daily", "csl_daily:csl"),
    "how2sign": ("how2sign", "how2sign:h2s"),
    "openasl": ("openasl", "openasl:asl"),
    "must_c": ("must_c", "must_c:must/en-de"),
    "youtube_asl": ("youtube_asl", "youtube_asl:."),
    "youtube_sl_25": ("youtube_sl_25", "youtube_sl_25:sl?language=en"),
    "csl_news": ("csl_news", "csl_news:news"),
    "bobsl": ("bobsl", "bobsl:bobsl"),
    "wmt_slt": ("wmt_slt", "wmt_slt:slt"),
    "dgs": ("dgs", "dgs:dgs"),
    "hub": ("hub", "hub:hub?language=de"),
    "folder": ("folder", "folder:.?language=de"),
    "table": ("jsonl", "table:rows.jsonl"),
    "packed": ("packed", "packed:packed"),
    "gfslt": ("gfslt", "gfslt:labels?media=frames"),
    "camgoz": ("camgoz", "camgoz:labels?media=frames"),
}
"""For each kind a target of the fuzzer, whose files it reads, and how it is read."""
MEDIA = (".mp4", ".png", ".jpg", ".wav", ".tar")


def without(spec):
    """The spec of the same corpus without its clips."""
    path, _, options = spec.partition("?")
    others = [one for one in options.split("&") if one and not one.startswith("media=")]
    return f"{path}?{'&'.join(['media=none', *others])}"


assert {*SPECS} == {*_READERS} - {"several"}  # which lists corpora of the others


@pytest.fixture(params=SPECS)
def corpus(request, tmp_path, monkeypatch):
    """A corpus of each kind as it is read with its clips, and its spec when they are gone."""
    target, spec = SPECS[request.param]
    TARGETS[target].make(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = read_corpus(spec)
    media = [path for path in tmp_path.rglob("*") if path.suffix in MEDIA]
    assert media
    for path in media:
        path.unlink()
    for folder in ("c", "frames", "pt/features", "csl/sentence", "packed/shards"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    return before, without(spec)


def plain(corpus):
    return [replace(sample, media=None) for samples in corpus.splits.values() for sample in samples]


def test_rows_are_those_with_media_in_every_kind(corpus):
    before, spec = corpus
    after = read_corpus(spec)
    assert before.has_media
    assert not after.has_media
    # But for boxes: they are of videos that nobody looked for.
    assert plain(after) == [replace(sample, box=None) for sample in plain(before)]
    assert list(after.splits) == list(before.splits)
    assert after.notes == before.notes


def test_rows_are_the_same_where_the_media_are_there(tmp_path, monkeypatch):
    for target, spec in SPECS.values():
        folder = tmp_path / spec.partition(":")[0]
        folder.mkdir()
        TARGETS[target].make(folder)
        monkeypatch.chdir(folder)
        assert read_corpus(without(spec)).splits.keys() == read_corpus(spec).splits.keys()


def test_every_kind_is_counted_and_checked_without_media(corpus):
    before, spec = corpus
    result = CliRunner().invoke(app, ["corpus", "stats", spec, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    counted = json.loads(result.stdout)
    sizes = {name: len(rows) for name, rows in before.splits.items()}
    assert {name: one["num_samples"] for name, one in counted["splits"].items()} == sizes
    report = check_corpus(spec)
    assert not report.has_errors, report
    assert report.num_samples == sizes
    assert "no clip was looked at: media=none" in str(report)


def table(folder, rows):
    rows = [{"split": "train", "language": "de", "media": "a.mp4"} | row for row in rows]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"table:{path}?media=none"


def test_a_list_of_corpora_of_which_one_has_no_media(tmp_path):
    table(tmp_path, [{"id": "a", "text": "Wind am Abend"}])
    listed = tmp_path / "all.txt"
    listed.write_text("table:rows.jsonl?media=none\n", encoding="utf-8")
    corpus = read_corpus(f"several:{listed}")
    assert not corpus.has_media
    with pytest.raises(InputError, match="found media=none"):
        corpus.require_media("this test")
    (sample,) = corpus.split("train")
    assert (sample.id, sample.text) == ("table/a", "Wind am Abend")


def test_lengths_are_those_that_rows_give(tmp_path):
    rows = [
        {"id": "a", "text": "Wind am Abend", "start": 1.5, "end": 4.0, "signer": "Anna"},
        {"id": "b", "text": "Regen", "end": 1.5, "signer": "Bela"},
        {"id": "c", "text": "Nebel", "start": 2.0},
        {"id": "d", "text": "Nebel", "split": "dev"},
    ]
    stats = corpus_stats(table(tmp_path, rows))
    train, dev = stats.splits["train"], stats.splits["dev"]
    assert train.hours == pytest.approx(4.0 / 3600)
    assert (train.seconds_per_clip.minimum, train.seconds_per_clip.maximum) == (1.5, 2.5)
    assert train.frames_per_clip.maximum == round(2.5 * 25)
    assert (dev.hours, dev.seconds_per_clip, dev.frames_per_clip) == (None, None, None)
    assert stats.notes == (
        "2 of 4 rows say where their clip begins and ends: hours and lengths are of these",
    )
    assert [len(seconds) for seconds in stats.seconds.values()] == [2, 0]
    printed = str(stats)
    assert "signers" in printed
    (hours,) = [line.split() for line in printed.splitlines() if line.startswith("hours")]
    assert hours == ["hours", "0.00", "-", "0.00"]


def test_nothing_is_drawn_of_lengths_that_nobody_knows(tmp_path):
    spec = table(tmp_path, [{"id": "a", "text": "Wind am Abend"}])
    run = CliRunner().invoke(
        app, ["corpus", "stats", spec, "--output", str(tmp_path / "out")], catch_exceptions=False
    )
    assert run.exit_code == 0
    assert "0 of 1 rows say where their clip begins and ends" in run.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["stats.json", "words_per_sentence.svg"]
    assert json.loads((tmp_path / "out/stats.json").read_text())["total"]["hours"] is None


def test_check_still_compares_times_and_texts(tmp_path):
    rows = [
        {"id": "a", "text": "Wind  am Abend", "start": 1.5, "end": 4.0},
        {"id": "b", "text": "Regen", "start": 1.5, "end": 4.0},
    ]
    report = check_corpus(table(tmp_path, rows))
    found = {kind.name for kind in report.faults}
    assert found == {"ODD_TEXT", "SAME_CLIP", "MISSING_SPLIT"}


def test_folder_that_is_called_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "none/a.mp4").touch()
    rows = [{"id": "a", "media": "a.mp4", "text": "Wind", "split": "train", "language": "de"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]))
    assert read_corpus("table:rows.jsonl?media=./none").has_media
    assert not read_corpus("table:rows.jsonl?media=none").has_media


RECIPE = {
    "tokenizer": {"vocab_size": 120},
    "stages": [
        {
            "name": "pretraining",
            "objective": "denoising",
            "language_model": {
                "config": {
                    "model_type": "mbart",
                    "d_model": 16,
                    "max_position_embeddings": 64,
                    "encoder_layers": 1,
                    "decoder_layers": 1,
                    "encoder_attention_heads": 2,
                    "decoder_attention_heads": 2,
                    "encoder_ffn_dim": 32,
                    "decoder_ffn_dim": 32,
                }
            },
            "learning_rates": {"language_model": 0.01},
            "batch_size": 4,
            "epochs": 1,
        }
    ],
}
READS_CLIPS = {
    "name": "visual",
    "encoder": {"config": {**tiny.ENCODER, "temporal_dim": 24}},
    "adapter": {"config": {"hidden_dim": 32}},
    "language_model": {"source": "pretraining"},
    "learning_rates": {"encoder": 0.01, "adapter": 0.01, "language_model": 0.01},
    "batch_size": 4,
    "epochs": 1,
}


@pytest.fixture
def annotations(tmp_path):
    """A corpus of annotation files alone."""
    spec = tiny.write_corpus(tmp_path / "corpus", 8, 2)
    shutil.rmtree(tmp_path / "corpus/PHOENIX-2014-T/features")
    return f"{spec}?media=none"


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)


@pytest.mark.slow
def test_language_models_are_pre_trained_and_trimmed_on_texts_alone(annotations, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    run = call("train", recipe, "--corpus", annotations, "--output", tmp_path / "run")
    assert run.exit_code == 0, run.output
    assert (tmp_path / "run/1-pretraining/model").is_dir()
    rows = (tmp_path / "run/1-pretraining/metrics.jsonl").read_text().splitlines()
    assert any("loss" in json.loads(row) for row in rows)

    from transformers import AutoTokenizer

    trained = AutoTokenizer.from_pretrained(tmp_path / "run/processor")
    for sample in read_corpus(annotations).split("train"):
        assert trained.decode(trained(sample.text).input_ids, skip_special_tokens=True)


def test_sentences_are_scored_against_texts_of_a_corpus_without_media(annotations):
    import unglossed

    texts = [sample.text for sample in unglossed.read_corpus(annotations).split("test")]
    assert unglossed.score(texts, texts, "de").bleu4 == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("words", "reader"),
    [
        (["train", "{recipe}", "--corpus", "{spec}", "--output", "{out}"], "stages.visual"),
        (["extract", "{recipe}", "--corpus", "{spec}", "--output", "{out}"], "`extract`"),
        (["evaluate", "{out}", "--corpus", "{spec}", "--output", "{out}"], "`evaluate`"),
        (["corpus", "pack", "{spec}", "{out}"], "`corpus pack`"),
        (["corpus", "check", "{spec}", "--deep"], "--deep"),
    ],
)
def test_what_reads_clips_refuses_in_one_line(annotations, tmp_path, words, reader):
    recipe = tmp_path / "recipe.yaml"
    visual = dict(READS_CLIPS)
    if words[0] == "extract":
        visual |= {"feature_views": 1, "frozen": ["encoder"], "encoder": {"source": "microsoft/x"}}
        visual["learning_rates"] = {"adapter": 0.01, "language_model": 0.01}
    stages = [*RECIPE["stages"], visual]
    recipe.write_text(yaml.safe_dump(RECIPE | {"stages": stages}))
    places = {"recipe": recipe, "spec": annotations, "out": tmp_path / "out"}
    result = call(*(word.format(**places) for word in words))
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if "media=none" in line]
    assert f"found media=none, expected the clips, which {reader} reads" in line
    assert not (tmp_path / "out").exists()


def test_samples_without_media_are_not_translated(annotations):
    from unglossed.cli.translate import _list_clips

    with pytest.raises(InputError, match="expected the clips, which `translate` reads"):
        _list_clips([annotations])


def test_arrays_beside_no_media_are_refused(tmp_path):
    spec = table(tmp_path, [{"id": "a", "text": "Nebel"}])
    with pytest.raises(InputError, match=r"features=.* beside media=none, expected one of both"):
        read_corpus(f"{spec}&features={tmp_path}")
