"""Text files are scored line by line; a blank reference is a mistake, a blank hypothesis is not."""

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
