"""Text files are scored line by line; a blank reference is a mistake, a blank hypothesis is not."""

import json
from pathlib import Path

import pytest

from unglossed.errors import InputError
from unglossed.evaluation.text_files import score_files


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_blank_reference_is_named_by_its_line(tmp_path: Path) -> None:
    hypotheses = write(tmp_path / "hyp.txt", "eins", "zwei", "drei")
    references = write(tmp_path / "ref.txt", "eins", "zwei", "  ")
    with pytest.raises(InputError) as caught:
        score_files(hypotheses, references, "de")
    assert str(caught.value) == (
        f"{references}, line 3: found no text, expected a sentence (1 of 3 lines are blank)"
    )


def test_blank_hypotheses_are_counted_in_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references = write(tmp_path / "ref.txt", "eins", "zwei", "drei")
    scores = score_files(write(tmp_path / "hyp.txt", "eins", "", " "), references, "de")
    assert scores.rouge_l == pytest.approx(100 / 3)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        f"note: {tmp_path / 'hyp.txt'}: 2 of 3 hypotheses are blank (first: line 2) and count as"
        " nothing right\n"
    )
    score_files(references, references, "de")
    assert capsys.readouterr().err == ""


def predictions(path: Path, *rows: dict[str, object]) -> Path:
    return write(path, *(json.dumps(row, ensure_ascii=False) for row in rows))


def test_predictions_of_evaluate_are_read_as_texts(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "reference": "der wind weht stark", "hypothesis": "der wind weht kaum"},
        {
            "id": "b",
            "reference": "es bleibt am abend kühl",
            "hypothesis": "es bleibt am abend kühl",
        },
    ]
    found = predictions(tmp_path / "predictions.jsonl", *rows)
    texts = [
        write(tmp_path / f"{key}.txt", *(row[key] for row in rows)) for key in list(rows[0])[1:]
    ]
    expected = score_files(texts[1], texts[0], "de")
    assert 0 < (expected.bleu4 or 0) < 100
    assert score_files(found, [], "de") == expected
    assert score_files(found, texts[0], "de") == expected
    assert score_files(texts[1], found, "de") == expected


def test_further_references_of_predictions_count(tmp_path: Path) -> None:
    row = {"reference": "es regnet im norden", "references": ["im norden fällt regen"]}
    found = predictions(tmp_path / "p.jsonl", row | {"hypothesis": "im norden fällt regen"})
    scores = score_files(found, [], "de")
    assert scores.bleu4 == pytest.approx(100)
    assert "nrefs:2" in scores.signature


def test_rows_that_name_their_language_are_scored_by_it(tmp_path: Path) -> None:
    rows = [
        {"reference": "明天南部下雨", "hypothesis": "明天北部下雨", "language": "zh"},
        {"reference": "es regnet im norden", "hypothesis": "es regnet im norden"},
    ]
    scores = score_files(predictions(tmp_path / "p.jsonl", *rows), [], "de")
    assert list(scores.languages) == ["zh", "de"]
    assert scores.languages["zh"].tokenizer == "zh"
    assert scores.languages["de"].bleu4 == pytest.approx(100)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("h.txt", '[\n  {"media": "a.mp4", "text": "eins"}\n]\n', "line 1: found '['"),
        ("h.txt", '{"id": "a", "text": "eins"}\n', "found fields 'id', 'text', expected a text as"),
        ("h.txt", '{"hypothesis": null}\n', "'hypothesis' is null, expected a text"),
        ("h.jsonl", '{"hypothesis": "eins"}\nzwei\n', "line 2: found 'zwei', expected JSON lines"),
        ("h.txt", "a.mp4\teins\nb.mp4\tzwei\n", "found a tab in every line, as in a table"),
        ("h.txt", "1\n00:00:01,000 --> 00:00:02,000\neins\n", "line 2: found subtitles"),
        ("h.txt", "eins\u2028zwei\u2028drei", "2 x line separators (U+2028) in 1 line, expected"),
        ("h.txt", "eins\x0czwei", "1 x form feeds in 1 line, expected lines that end in LF"),
        ("h.txt", "e\0i\0n\0s\0", "found a zero byte at 1, expected text in UTF-8"),
        ("h.txt", "eins\nzwei\n", "found 2 and 1 sentences, expected as many in one as in the"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    found = tmp_path / name
    found.write_text(content, encoding="utf-8", newline="")
    with pytest.raises(InputError) as caught:
        score_files(found, write(tmp_path / "ref.txt", "eins"), "de")
    assert str(found) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lines_end_as_in_a_text_editor(tmp_path: Path) -> None:
    references = write(tmp_path / "ref.txt", "eins zwei", "drei vier")
    for end in ("\r", "\r\n", "\n"):
        found = tmp_path / "hyp.txt"
        found.write_bytes(f"eins zwei{end}drei vier".encode())
        assert score_files(found, references, "de").num_samples == 2
        found.write_bytes(f"eins zwei{end}drei vier{end}".encode())
        assert score_files(found, references, "de").bleu2 == pytest.approx(100)


def test_a_separator_within_a_line_is_told_and_ends_none(tmp_path: Path, capsys) -> None:
    found = write(tmp_path / "hyp.txt", "eins\u2028zwei", "drei", "vier")
    assert score_files(found, found, "de").num_samples == 3
    assert "1 x line separators (U+2028) in 3 lines: they end no line" in capsys.readouterr().err


def test_sentences_alone_are_not_scored_against_themselves(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found sentences alone, expected references too"):
        score_files(write(tmp_path / "hyp.txt", "eins"), [], "de")


def test_several_files_are_several_references(tmp_path: Path) -> None:
    found = write(tmp_path / "h.txt", "im norden fällt viel regen", "es bleibt kühl und nass")
    files = [
        write(tmp_path / "one.txt", "im norden regnet es viel", "es bleibt kühl und nass"),
        write(tmp_path / "two.txt", "im norden fällt viel regen", "kühl und nass bleibt es"),
    ]
    together = score_files(found, files, "de")
    assert together.bleu4 == pytest.approx(100)
    assert all(score_files(found, file, "de").bleu4 < 90 for file in files)


def test_look_alike_signs_are_told_with_what_they_cost(tmp_path: Path, capsys) -> None:
    found = write(tmp_path / "h.txt", "she can’t see the dog", "they left the house early")
    wanted = write(tmp_path / "r.txt", "she can't see the dog", "they left the house early")
    scores = score_files(found, wanted, "en")
    told = capsys.readouterr().err
    assert "1 of 2 hypotheses differ from their reference in nothing but look-alike signs" in told
    assert "(first: sentence 1), such as ’ (U+2019 RIGHT SINGLE QUOTATION MARK)" in told
    assert f"BLEU-4 would be 100.00 instead of {scores.bleu4:.2f}" in told
    assert score_files(found, wanted, "en", "nfkc_plain_signs.v1").bleu4 == pytest.approx(100)
    assert capsys.readouterr().err == ""
    score_files(wanted, wanted, "en")
    assert capsys.readouterr().err == ""


def test_signs_that_cost_nothing_are_not_told(tmp_path: Path, capsys) -> None:
    found = write(tmp_path / "h.txt", "she can’t see the dog")
    score_files(found, write(tmp_path / "r.txt", "a cat sits on the roof – alone"), "en")
    assert capsys.readouterr().err == ""


def test_predictions_of_two_systems_in_another_order_are_refused(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": id, "reference": text, "hypothesis": text}
        for id, text in (("a", "der wind weht stark"), ("b", "es bleibt am abend kühl"))
    ]
    first = predictions(tmp_path / "first.jsonl", *rows)
    turned = predictions(tmp_path / "turned.jsonl", *rows[::-1])
    with pytest.raises(InputError) as caught:
        score_files(first, turned, "de")
    assert str(caught.value) == (
        f"{first}, line 1, and {turned}, line 1: found the ids 'a' and 'b', expected the same"
        " samples in the same order: sort both by id"
    )
    assert score_files(first, first, "de").bleu4 == pytest.approx(100)


def test_a_table_of_commas_is_known_by_its_ending(tmp_path: Path) -> None:
    table = write(tmp_path / "texts.csv", "id,text", 'a,"der wind, er weht"')
    with pytest.raises(InputError, match=r"texts\.csv: has the ending of a table") as caught:
        score_files(table, write(tmp_path / "ref.txt", "eins", "zwei"), "de")
    assert "in a .txt file" in str(caught.value)
