"""Systems beside a baseline: from which files, how they are told, and what is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from unglossed.cli import app
from unglossed.errors import InputError
from unglossed.evaluation.comparison import compare_files
from unglossed.evaluation.evaluate import Prediction, write_evaluation
from unglossed.evaluation.metrics import sentence_bleu
from unglossed.evaluation.significance import paired_differences
from unglossed_synth.corpus import write_corpus

REFERENCES = [
    "morgen regnet es im norden",
    "am tag scheint die sonne",
    "in der nacht wird es kalt",
    "der wind weht schwach bis mäßig",
]
BASELINE = [
    "morgen regnet es im süden",
    "am tag scheint die sonne",
    "in der nacht wird es warm",
    "der wind weht stark",
]
SYSTEM = [
    "morgen regnet es im norden",
    "am tag scheint der mond",
    "in der nacht wird es warm",
    "der wind weht schwach bis stark",
]


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def evaluation(folder: Path, hypotheses: list[str], **changes: list[str]) -> Path:
    references = changes.get("references", REFERENCES)
    ids = changes.get("ids", [f"clip-{number}" for number in range(len(hypotheses))])
    rows = [
        Prediction(one, reference, hypothesis, -0.5)
        for one, reference, hypothesis in zip(ids, references, hypotheses, strict=True)
    ]
    write_evaluation(folder, rows, "de")
    return folder


def test_folders_of_evaluate_know_language_and_references(tmp_path: Path) -> None:
    folders = [
        evaluation(tmp_path / "baseline", BASELINE),
        evaluation(tmp_path / "run" / "test", SYSTEM).parent,
        evaluation(tmp_path / "same", BASELINE),
    ]

    result = run(*folders, "--trials", 200, "--json")

    found = json.loads(result.stdout)
    first, second = found["systems"]
    expected = paired_differences(BASELINE, SYSTEM, REFERENCES, "de", 200)
    assert {name: one["p"] for name, one in first["differences"]["de"].items()} == {
        name: one.p for name, one in expected.items()
    }
    assert (first["wins"], first["losses"], first["ties"]) == (2, 1, 1)
    assert (second["wins"], second["losses"], second["ties"]) == (0, 0, 4)
    assert second["sentences"] == []
    gains = [
        sentence_bleu(system, reference, "de") - sentence_bleu(baseline, reference, "de")
        for baseline, system, reference in zip(BASELINE, SYSTEM, REFERENCES, strict=True)
    ]
    told = {row["id"]: row["difference"] for row in first["sentences"]}
    order = sorted((0, 1, 3), key=lambda index: -abs(gains[index]))
    assert list(told) == [f"clip-{index}" for index in order]
    assert list(told.values()) == pytest.approx([gains[index] for index in order])


def test_text_files_with_references_of_their_own(tmp_path: Path) -> None:
    lines = {"ref": REFERENCES, "a": BASELINE, "b": SYSTEM}
    for name, texts in lines.items():
        (tmp_path / name).write_text("\n".join(texts) + "\n", encoding="utf-8")

    told = compare_files(
        [tmp_path / "a", tmp_path / "b"],
        references=[tmp_path / "ref"],
        language="de",
        trials=50,
        sentences=1,
    )

    text = str(told)
    assert f"# Compared with {tmp_path / 'a'}".replace("_", r"\_") in text
    assert "Better in 2 sentences, worse in 1, equal in 1" in text
    assert text.count("    - reference: ") == 1
    assert "| ROUGE-L | " in text
    (expected,) = (row for row in text.splitlines() if row.startswith("| BLEU-4 |"))
    found = told.systems[0].differences["de"]["BLEU-4"]
    assert expected.split(" | ")[1:4] == [
        f"{found.baseline:.2f}",
        f"{found.system:.2f}",
        f"{found.difference:+.2f}",
    ]


def test_it_is_written_to_files_of_both_forms(tmp_path: Path) -> None:
    pair = [evaluation(tmp_path / "a", BASELINE), evaluation(tmp_path / "b", SYSTEM)]

    results = [run(*pair, "--trials", 9, "-o", tmp_path / name) for name in ("c", "d.json", "e.md")]

    assert [result.exit_code for result in results] == [0, 0, 0]
    folder = tmp_path / "c"
    assert (tmp_path / "e.md").read_text("utf-8") == (folder / "comparison.md").read_text("utf-8")
    assert results[0].stdout == (folder / "comparison.md").read_text("utf-8")
    written = json.loads((tmp_path / "d.json").read_text("utf-8"))
    assert written == json.loads((folder / "comparison.json").read_text("utf-8"))


def test_slot_f1_comes_from_the_meanings_of_a_generated_corpus(tmp_path: Path) -> None:
    write_corpus(
        tmp_path / "corpus", 4, 0, width=16, height=16, level=1, num_workers=1, progress=False
    )
    path = tmp_path / "corpus" / "generated.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    ids, texts = [row["id"] for row in rows], [row["text"]["de"] for row in rows]
    right = evaluation(tmp_path / "right", texts, ids=ids, references=texts)
    wrong = evaluation(tmp_path / "wrong", texts[1:] + texts[:1], ids=ids, references=texts)

    result = run(wrong, right, "--generated", tmp_path / "corpus", "--trials", 9, "--json")

    (system,) = json.loads(result.stdout)["systems"]
    assert system["differences"]["de"]["slot F1"]["system"] == 1.0
    assert system["differences"]["de"]["slot F1"]["baseline"] < 1.0
    others = evaluation(tmp_path / "others", BASELINE)
    refused = run(others, others, "--generated", tmp_path / "corpus")
    assert "found no meaning of 'clip-0' (4 of 4 are missing)" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ids": ["clip-1", "clip-0", "clip-2", "clip-3"]}, "found the ids 'clip-0' and 'clip-1'"),
        (
            {"references": [*REFERENCES[:3], "etwas anderes"]},
            "found other references in sentence 4",
        ),
    ],
)
def test_what_is_not_of_the_same_clips_is_refused(
    tmp_path: Path, changes: dict[str, list[str]], told: str
) -> None:
    baseline = evaluation(tmp_path / "a", BASELINE)
    other = evaluation(tmp_path / "b", SYSTEM, **changes)

    result = run(baseline, other)

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert told in result.stderr


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    whole = evaluation(tmp_path / "a", BASELINE)
    short = evaluation(tmp_path / "b", BASELINE[:3], references=REFERENCES[:3])
    text = tmp_path / "text"
    text.write_text("\n".join(BASELINE) + "\n", encoding="utf-8")
    trained = tmp_path / "run"
    trained.mkdir()
    (trained / "run.json").write_text("{}")

    with pytest.raises(InputError, match="found 4 and 3 sentences"):
        compare_files([whole, short])
    with pytest.raises(InputError, match="expected references too"):
        compare_files([text, text])
    with pytest.raises(InputError, match="found no language, expected --language CODE"):
        compare_files([text, text], references=[text])
    with pytest.raises(InputError, match=r"found no predictions for the split 'dev'.* --split dev"):
        compare_files([whole, trained], split="dev")
    with pytest.raises(InputError, match="found 1, expected a baseline and others"):
        compare_files([whole])
    with pytest.raises(InputError, match=r"found no predictions\.jsonl"):
        compare_files([whole, tmp_path])


@pytest.mark.parametrize(
    "name", ["b/predictions.jsonl", "b/metrics.json", "new.jsonl", "new.txt", "ref.md"]
)
def test_it_is_written_onto_no_input_and_to_no_other_kind_of_file(
    tmp_path: Path, name: str
) -> None:
    pair = [evaluation(tmp_path / "a", BASELINE), evaluation(tmp_path / "b", SYSTEM)]
    (tmp_path / "ref.md").write_text("\n".join(REFERENCES), "utf-8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    result = run(*pair, "--references", tmp_path / "ref.md", "--trials", 9, "-o", tmp_path / name)

    assert result.exit_code == 2
    assert "expected" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def rows(path: Path, hypotheses: list[str], **fields: list[object]) -> Path:
    """A file of JSON lines, with further fields of each."""
    lines = [
        {"reference": reference, "hypothesis": hypothesis}
        | {name: values[number] for name, values in fields.items() if values[number] is not None}
        for number, (reference, hypothesis) in enumerate(zip(REFERENCES, hypotheses, strict=True))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_languages_are_those_that_any_file_names(tmp_path: Path) -> None:
    codes = ["de", "de", "en", None]
    mixed = rows(tmp_path / "mixed.jsonl", SYSTEM, language=codes)
    other = rows(tmp_path / "other.jsonl", SYSTEM, language=["de", "zh", "en", "de"])
    (tmp_path / "text").write_text("\n".join(BASELINE), "utf-8")

    told = compare_files([tmp_path / "text", mixed], language="de", trials=9)

    assert list(told.systems[0].differences) == ["de", "en"]
    with pytest.raises(InputError, match=r"found the languages 'de' and 'zh' of sentence 2"):
        compare_files([tmp_path / "text", mixed, other], language="de", trials=9)
    with pytest.raises(InputError, match=r"found the languages 'de' and 'zh' of sentence 2"):
        compare_files([evaluation(tmp_path / "a", BASELINE), other], trials=9)


def test_no_sentence_and_a_clip_twice_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    twice = rows(tmp_path / "twice.jsonl", BASELINE, id=["a", "b", "a", "c"])

    with pytest.raises(InputError, match=r"empty\.jsonl: found no sentence, expected at least one"):
        compare_files([empty, empty], language="de")
    with pytest.raises(InputError, match=r"line 3: found the id 'a' again, that of line 1"):
        compare_files([twice, twice], language="de")


def test_a_number_and_its_text_are_the_same_id(tmp_path: Path) -> None:
    numbers = rows(tmp_path / "a.jsonl", BASELINE, id=[7, 8, 9, 10])
    texts = rows(tmp_path / "b.jsonl", SYSTEM, id=["7", "8", "9", "10"])

    assert compare_files([numbers, texts], language="de", trials=9).num_sentences == 4


def test_markup_in_a_sentence_is_shown_as_it_is(tmp_path: Path) -> None:
    baseline = evaluation(tmp_path / "a", ["<b>|x|</b>", *BASELINE[1:]])

    told = compare_files([baseline, evaluation(tmp_path / "b", SYSTEM)], trials=9)

    assert r"- baseline: \<b\>\|x\|\</b\>" in str(told)
