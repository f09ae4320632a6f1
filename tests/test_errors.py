"""Messages are one line, whatever stands in them and wherever they come from."""

import pickle
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset
from typer.testing import CliRunner

from tiny import tiny_translator
from unglossed.cli import app
from unglossed.config import FieldError, field
from unglossed.corpora.parallel import map_in_order
from unglossed.errors import InputError, note, one_line

PATH = "a\nb\t\x1b[2Jé.mp4"
WHOLE = r"a\nb\t\x1b[2Jé.mp4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PATH, WHOLE),
        ("one\u2028two\x85three\r", r"one\u2028two\x85three\r"),
        ("明天 im Süden\u200b\u00a0", "明天 im Süden\u200b\u00a0"),
        ("turned \u202eround\u2066", r"turned \u202eround\u2066"),
        ("gr\udcfcn \x9b", r"gr\udcfcn \x9b"),
    ],
)
def test_what_ends_a_line_is_written_as_an_escape(text: str, expected: str) -> None:
    assert one_line(text) == expected
    assert one_line(expected) == expected


def fail(number: int) -> int:
    raise InputError(f"{PATH}: clip {number} cannot be read")


class Failing(Dataset[int]):
    """Every item is a user's mistake."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return fail(index)


def test_a_message_is_whole_and_one_line_from_here_and_from_worker_processes() -> None:
    error = InputError(f"{PATH}: clip 0 cannot be read")
    expected = f"{WHOLE}: clip 0 cannot be read"
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == expected
    with pytest.raises(InputError) as of_loader:
        list(DataLoader(Failing(), num_workers=1))
    assert str(of_loader.value) == expected
    with pytest.raises(InputError) as of_map:
        list(map_in_order(fail, [0], 1))
    assert str(of_map.value) == expected


def test_the_command_shows_a_path_with_a_line_end_whole(tmp_path: Path) -> None:
    model = tiny_translator(tmp_path / "model")
    result = CliRunner().invoke(app, ["translate", str(model), str(tmp_path / "a\nb.mp4")])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path}/a\\nb.mp4: ")
    assert result.stderr.count("\n") == 1


def test_a_note_is_one_line(capsys) -> None:
    note(PATH)
    assert capsys.readouterr().err == f"note: {WHOLE}\n"


def test_an_error_is_prefixed_with_the_fields_around_it() -> None:
    with pytest.raises(FieldError) as caught, field("stages.x"), field("encoder"):
        raise FieldError("source", "found 3")
    assert str(caught.value) == "stages.x.encoder.source: found 3"
    with pytest.raises(FieldError) as caught, field("stages.x"), field("encoder"):
        raise InputError("/runs/a: no such folder")
    assert str(caught.value) == "stages.x.encoder: /runs/a: no such folder"
