"""What is done to texts before scoring, and what that does to scores worked out by hand."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from unglossed.cli import app
from unglossed.corpora.sample import Corpus
from unglossed.errors import InputError
from unglossed.evaluation.metrics import (
    DEFAULT_NORMALISATION,
    NORMALISATIONS,
    Scores,
    normalise,
    score,
)

NFC, NO_STOP = "nfc.v1", "nfc_no_final_stop.v1"
HYPOTHESIS = "morgen fällt im süden regen"
REFERENCE = "morgen fällt im norden regen"


def values(scores: Scores) -> tuple[float, ...]:
    return (
        *(scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4),
        *(scores.chrf, scores.rouge_l),
    )


def test_nfc_changes_nothing_but_the_composition() -> None:
    text = '  Für morgen:  „25 °C", ＯＫ？ 他说：“好！” ﬁ .'
    assert normalise([unicodedata.normalize("NFD", text)], NFC) == [text]


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("es regnet .", "es regnet"),
        ("es regnet.", "es regnet."),
        ("es regnet . .", "es regnet ."),
        ("es regnet . ", "es regnet . "),
        ("明天下雨。", "明天下雨。"),
        ("明天下雨 .", "明天下雨"),
        (" .", ""),
        (".", "."),
        (unicodedata.normalize("NFD", "kühl ."), "kühl"),
    ],
)
def test_one_stop_that_stands_alone_at_the_end_is_taken_off(text: str, without: str) -> None:
    assert normalise([text], NO_STOP) == [without]


def test_decomposed_hypothesis_scores_as_the_composed_one() -> None:
    decomposed = unicodedata.normalize("NFD", HYPOTHESIS)
    assert decomposed != HYPOTHESIS
    for name in NORMALISATIONS:
        assert score([decomposed], [REFERENCE], "de", name) == score(
            [HYPOTHESIS], [unicodedata.normalize("NFD", REFERENCE)], "de", name
        )
    # Four of the five words agree, "fällt" among them.
    assert score([decomposed], [REFERENCE], "de").bleu1 == pytest.approx(100 * 4 / 5)
    assert score([decomposed], [REFERENCE], "de").rouge_l == pytest.approx(100 * 4 / 5)


def test_appended_stop_moves_the_score_under_nfc_alone() -> None:
    dotted = [HYPOTHESIS + " ."], [REFERENCE + " ."], "de"
    plain = [HYPOTHESIS], [REFERENCE], "de"
    # The stop makes four of five words five of six, and two of four pairs three of five.
    assert score(*plain, NFC).bleu1 == pytest.approx(100 * 4 / 5)
    assert score(*dotted, NFC).bleu1 == pytest.approx(100 * 5 / 6)
    assert score(*plain, NFC).bleu2 == pytest.approx(100 * (4 / 5 * 2 / 4) ** 0.5)
    assert score(*dotted, NFC).bleu2 == pytest.approx(100 * (5 / 6 * 3 / 5) ** 0.5)
    assert values(score(*dotted, NO_STOP)) == values(score(*plain, NO_STOP))
    assert values(score(*dotted, NO_STOP)) == values(score(*plain, NFC))


def test_stop_of_one_side_alone_costs_nothing_without_stops() -> None:
    scores = score([HYPOTHESIS], [HYPOTHESIS + " ."], "de", NO_STOP)
    assert values(scores) == pytest.approx((100,) * 6)
    assert score([HYPOTHESIS], [HYPOTHESIS + " ."], "de", NFC).bleu4 < 100


def test_scores_say_their_normalisation_and_tokenisation() -> None:
    scores = score(["明天下雨 ."], ["明天下雨 ."], "zh", NO_STOP)
    assert (scores.tokenizer, scores.normalisation) == ("zh", NO_STOP)
    assert scores.to_dict()["tokenizer"] == "zh"
    assert scores.to_dict()["normalisation"] == NO_STOP
    assert str(scores).endswith(
        f"(1 samples, tokenisation zh, normalisation {NO_STOP}, {scores.signature})"
    )
    assert score(["a"], ["a"], "de").normalisation == NFC


def test_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(InputError) as error:
        score(["a"], ["a"], "de", "nfkc")
    assert str(error.value) == (
        "normalisation: found 'nfkc', expected one of nfc.v1, nfc_no_final_stop.v1,"
        " nfkc_plain_signs.v1"
    )


def test_a_corpus_that_says_nothing_has_the_default() -> None:
    assert (
        Corpus("spec", Path("own.csv"), "table", "de", {}).normalisation
        == DEFAULT_NORMALISATION
        == NFC
    )


@given(st.lists(st.text(max_size=12)))
def test_normalised_texts_are_composed_and_no_longer_changed_by_nfc(texts: list[str]) -> None:
    for name in NORMALISATIONS:
        found = normalise(texts, name)
        assert len(found) == len(texts)
        assert normalise(found, NFC) == found


def run_score(folder: Path, hypotheses: bytes, references: bytes, *options: str) -> Result:
    """`unglossed score` on two files, hyp.txt and ref.txt."""
    (folder / "hyp.txt").write_bytes(hypotheses)
    (folder / "ref.txt").write_bytes(references)
    words = ["score", str(folder / "hyp.txt"), str(folder / "ref.txt"), *options]
    return CliRunner().invoke(app, words)


def test_score_verb_says_how_it_scored(tmp_path: Path) -> None:
    sides = f"{HYPOTHESIS} .\n".encode(), f"{REFERENCE} .\n".encode()
    plain = run_score(tmp_path, *sides, "--language", "de")
    assert plain.stdout.startswith("BLEU-1..4 83.33 /")
    assert f"(1 samples, tokenisation 13a, normalisation {NFC}, nrefs:1|" in plain.stdout
    content = run_score(
        tmp_path, *sides, "--language", "de", "--normalisation", NO_STOP, "--json"
    ).stdout
    assert json.loads(content) == {
        **score([HYPOTHESIS], [REFERENCE], "de").to_dict(),
        "normalisation": NO_STOP,
    }


def test_score_verb_ends_lines_as_text_editors_do(tmp_path: Path) -> None:
    sides = b"\xef\xbb\xbfes regnet\r\nja\x0b\r\nes\r\n", b"es regnet\nja\x0b\res"
    content = json.loads(run_score(tmp_path, *sides, "--language=de", "--json").stdout)
    assert (content["num_samples"], content["bleu1"]) == (3, 100)


@pytest.mark.parametrize(
    ("hypotheses", "references", "options", "said"),
    [
        (b"a\n", b"a\nb\n", (), "hyp.txt and {folder}/ref.txt: found 1 and 2 sentences, expected"),
        (b"", b"a\n", (), "hyp.txt: the file is empty, expected a sentence a line"),
        (b"a\n", b"", (), "ref.txt: the file is empty, expected a sentence a line"),
        (b"a\n", b"b\xfc\n", (), "ref.txt: found byte 0xfc at 1, expected UTF-8"),
        (b"a\n", b"a\n", ("--normalisation", "nfc"), "found 'nfc', expected one of nfc.v1, nfc_no"),
    ],
)
def test_score_verb_refuses_in_one_line(
    tmp_path: Path, hypotheses: bytes, references: bytes, options: tuple[str, ...], said: str
) -> None:
    result = run_score(tmp_path, hypotheses, references, "--language", "de", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said.format(folder=tmp_path) in line


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("it’s „so“ – or ‘not’…", "it's \"so\" - or 'not'..."),
        ("２５ °Ｃ，好！", "25 °C,好!"),
        ("明天下雨。", "明天下雨。"),  # another sign, not another form of the full stop
        ("«ça»\u00a0va", "«ça» va"),
        ("ver\u00adstanden\u200b", "verstanden"),
        ("ﬁn ´a`", "fin 'a'"),
        ("می\u200cشود", "می\u200cشود"),  # a joiner decides how Persian is read
    ],
)
def test_plain_signs_has_one_sign_for_those_that_look_alike(text: str, plain: str) -> None:
    assert normalise([text], "nfkc_plain_signs.v1") == [plain]
    assert normalise([plain], "nfkc_plain_signs.v1") == [plain]
