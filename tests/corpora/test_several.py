"""Several corpora as one, by a list of their specs."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pytest

import tiny
from unglossed.corpora.check import check_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError


def write_rows(path: Path, language: str, text: str, *, split: str = "train") -> None:
    row = {"id": "a", "media": "clip", "text": text, "split": split, "language": language}
    path.write_text(json.dumps(row), encoding="utf-8")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of three corpora, two of them of one kind and with the same ids."""
    tiny.write_corpus(tmp_path / "phoenix", 2, 1)
    tiny.write_frames(tmp_path / "clip", 3)
    write_rows(tmp_path / "english.jsonl", "en", "it rains")
    write_rows(tmp_path / "chinese.jsonl", "zh", "下雨")
    path = tmp_path / "corpora.txt"
    path.write_text(
        "# German first\nphoenix14t:phoenix\n\ntable:english.jsonl\n"
        f"table:{tmp_path / 'chinese.jsonl'}\n",
        encoding="utf-8",
    )
    return path


def test_rows_of_all_corpora_are_read_with_ids_that_differ(
    listed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path.parent)  # paths are relative to the list
    corpus = read_corpus(f"several:{listed}")

    assert corpus.languages == ("de", "en", "zh")
    assert corpus.language == "de"
    assert [row.id for row in corpus.split("train")] == [
        *("phoenix14t/train-0", "phoenix14t/train-1"),
        *("table/a", "table2/a"),
    ]
    assert [row.text for row in corpus.split("train")[2:]] == ["it rains", "下雨"]
    assert corpus.split("train")[2].media == tmp_path / "clip"
    assert {*corpus.splits} == {"train", "dev", "test"}


def test_one_language_is_chosen(listed: Path) -> None:
    corpus = read_corpus(f"several:{listed}?language=zh")
    assert [row.id for row in corpus.split("train")] == ["table2/a"]
    assert read_corpus(f"several:{listed}?language=*").languages == ("de", "en", "zh")
    with pytest.raises(InputError, match=r"found texts in de, en, zh, not in fr"):
        read_corpus(f"several:{listed}?language=fr")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("# nothing\n\n", "corpora.txt: found no corpus, expected a spec, kind:path, a line"),
        ("\nenglish.jsonl\n", r"corpora.txt, line 2: corpus 'english.jsonl': no kind"),
        ("table:none.csv", r"corpora.txt, line 1: .*none.csv: no such file or folder"),
        ("several:corpora.txt", "corpora.txt, line 1: found a list of corpora, expected a corpus"),
        ("table:english.jsonl?rate=3", "line 1: .*unknown option 'rate'"),
    ],
)
def test_a_line_that_is_no_corpus_is_named(listed: Path, content: str, fault: str) -> None:
    listed.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=fault):
        read_corpus(f"several:{listed}")


def test_corpora_that_are_scored_in_different_ways_are_refused(
    listed: Path, tmp_path: Path
) -> None:
    listed.write_text("table:english.jsonl\ncamgoz:labels\n", encoding="utf-8")
    (tmp_path / "labels").mkdir()
    for split in ("train", "dev", "test"):
        rows = [{"name": f"{split}/clip", "signer": "a", "gloss": "R", "text": "es regnet ."}]
        with gzip.open(tmp_path / "labels" / f"phoenix14t.pami0.{split}", "wb") as file:
            pickle.dump(rows, file)
        tiny.write_frames(tmp_path / "labels" / split / "clip", 3)
    with pytest.raises(InputError, match=r"nfc.v1 of table, nfc_no_final_stop.v1 of camgoz"):
        read_corpus(f"several:{listed}")


def test_options_stand_behind_the_specs_that_are_listed(listed: Path) -> None:
    with pytest.raises(InputError, match="which stands behind the specs that it lists"):
        read_corpus(f"several:{listed}?missing=skip")


def test_a_clip_with_a_text_in_each_language_is_no_fault(tmp_path: Path) -> None:
    tiny.write_frames(tmp_path / "clip", 3)
    rows = [
        {"id": f"a-{code}", "media": "clip", "text": "x y", "split": split, "language": code}
        for code, split in (("de", "train"), ("en", "train"), ("zh", "dev"))
    ]
    path = tmp_path / "rows.jsonl"

    def told(*chosen: dict[str, str]) -> str:
        path.write_text("\n".join(map(json.dumps, chosen)), encoding="utf-8")
        return str(check_corpus(f"table:{path}?language=*", num_workers=1))

    assert "the same clip under two ids" not in told(*rows[:2])
    assert "the same clip under two ids" in told(*rows)  # dev has a clip of train
    assert "the same clip under two ids" in told(rows[0], rows[0] | {"id": "b-de"})
