"""A corpus of many rows: what each takes of memory, and what is done with some of them alone."""

from __future__ import annotations

import gc
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

import tiny
from unglossed.corpora.compact import CompactSamples
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.models.processing import encode_texts
from unglossed.training import tokenizer as tokenizers
from unglossed.training.data import ClipDataset, TextDataset
from unglossed.training.fingerprint import FINGERPRINT_FILE, Fingerprint
from unglossed.training.tokenizer import most_tokens, train_tokenizer

NUM_ROWS = 20_000
MOST_BYTES = 1_000
"""Of a row, so that a million take a gigabyte: 870 are measured, and 760 once all is made. Half are
what Python keeps beside each text, number and object; a text itself has 64."""
SAMPLE = Sample("a", Path("clips/a.mp4"), "Nebel im „Tal“", "train", "de")
SAMPLES = [
    SAMPLE,
    replace(SAMPLE, id="b", signer="s1", gloss="NEBEL TAL", transcript="fog", references=("es",)),
    replace(SAMPLE, id="c", start_seconds=0.1, end_seconds=2.0, box=(0.0, 0.25, 0.5, 1.0)),
    replace(SAMPLE, id="d", media=Path("/clips/d"), frame_rate=50.0, deinterlace=True),
]


def write_table(path: Path, num_rows: int) -> str:
    """A table of segments of one video, with texts of 64 letters."""
    path.with_name("talk.mp4").touch()
    words = "regen schnee sonne wind nebel sturm hagel tau frost föhn".split()
    lines = ["id,media,text,split,start,end,language"]
    for number in range(num_rows):
        text = " ".join(words[int(digit)] for digit in f"{number * 7919:012d}")[:64]
        times = f"{number / 7:.3f},{number / 7 + 1:.3f}"
        split = "dev" if number % 100 == 0 else "train"
        lines.append(f"clip-{number:07d},talk.mp4,{text},{split},{times},de")
    path.write_text("\n".join(lines), encoding="utf-8")
    return f"table:{path}"


def test_a_row_takes_little_memory(tmp_path: Path) -> None:
    """All that a training keeps of the rows: the corpus, what identifies it, and its clips."""
    spec = write_table(tmp_path / "rows.csv", NUM_ROWS)
    processor = tiny.tiny_processor()
    read_corpus(write_table(tmp_path / "few.csv", 200))  # what is made once is no row's
    gc.collect()
    tracemalloc.start()

    corpus = read_corpus(spec)
    known = Fingerprint.take(corpus, media=False)
    clips = ClipDataset(corpus.split("train"), processor, limit=100, training=True)
    texts = TextDataset([sample.text for sample in corpus.split("train")], processor)
    known.write(tmp_path / FINGERPRINT_FILE)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(clips) == len(texts) == NUM_ROWS * 99 // 100
    assert now / NUM_ROWS < peak / NUM_ROWS < MOST_BYTES


def test_samples_that_are_kept_as_bytes_come_back() -> None:
    kept = CompactSamples(SAMPLES)

    assert list(kept) == SAMPLES
    assert kept[-1] == SAMPLES[-1]
    assert kept[1:3] == SAMPLES[1:3]
    with pytest.raises(IndexError):
        kept[4]


def test_what_identifies_a_corpus_is_written_as_plain_json(tmp_path: Path) -> None:
    corpus = read_corpus(write_table(tmp_path / "rows.csv", 9_000))  # more than are written at once
    path = tmp_path / FINGERPRINT_FILE
    known = Fingerprint.take(corpus, media=True)

    known.write(path)

    text = path.read_text(encoding="utf-8")
    found = json.loads(text)
    assert text == json.dumps(found, ensure_ascii=False) + "\n"
    names = [row[0] for row in found["splits"]["train"]["rows"]]
    assert names == [sample.id for sample in corpus.split("train")]
    assert Fingerprint.read(path) == known


def test_the_longest_of_many_texts_is_found_by_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {f"{'wind ' * (n % 5)}{'ungewöhnlich' * (n % 7)} </s>  regen {n}" for n in range(400)}
    tokenizer = train_tokenizer(sorted(texts), "de", 90)
    most = max(map(len, encode_texts(tokenizer, sorted(texts))))

    monkeypatch.setattr(tokenizers, "_MANY", 100)
    monkeypatch.setattr(tokenizers, "_BATCH_SIZE", 10)

    assert most_tokens(tokenizer, texts) == most


def test_a_tokenizer_of_some_texts_knows_the_letters_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [f"regen {number}" for number in range(100)] + ["ein q\u0301uiz, 天气"]
    whole = train_tokenizer(texts, "de", 300)
    monkeypatch.setattr(tokenizers, "_MANY", 40)

    some = train_tokenizer(texts, "de", 300)

    assert len(some) < len(whole)
    for text in texts:
        (ids,) = encode_texts(some, [text])
        assert some.unk_token_id not in ids
        assert some.decode(ids) == text
