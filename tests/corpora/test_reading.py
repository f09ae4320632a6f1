import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.reading import Reading, read_lines
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError


def lines_of(path, faults=None, **options):
    return list(read_lines(Reading(spec="", root=path, faults=faults), path, **options))


LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=5)


@given(st.lists(LINE), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(0, 3))
def test_lines_keep_their_numbers_and_only_empty_ones_at_the_end_go(
    tmp_path_factory, lines, end, marked, num_empty
):
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    mark = "\ufeff" if marked or (lines and lines[0].startswith("\ufeff")) else ""
    path.write_bytes((mark + end.join(lines) + end * num_empty).encode())
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    assert lines_of(path) == list(enumerate(lines or [""], start=1))


def test_line_ends_may_be_kept(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\nb\n\n\r\n")
    assert lines_of(path, keep_ends=True) == [(1, "a\r\n"), (2, "\n"), (3, "b\n")]


def test_line_that_is_not_utf8_is_reported_and_the_next_are_read(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\xe4\nb\n\nc\xff")
    with pytest.raises(InputError, match=r"a.txt, line 1: not UTF-8 .byte 0xe4 at 1"):
        lines_of(path)
    faults = Faults()
    assert lines_of(path, faults) == [(1, "a\ufffd"), (2, "b"), (3, ""), (4, "c\ufffd")]
    assert [fault.where for fault in faults.examples(FaultKind.NOT_UTF8)] == [
        f"{path}, line 1",
        f"{path}, line 4",
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_called_by_its_name(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffid,text\na,Nebel\n".encode(encoding))
    with pytest.raises(InputError) as error:
        lines_of(path, Faults())
    assert str(error.value) == f"{path}: found UTF-16, expected UTF-8: save the file as UTF-8"


def test_lines_that_end_in_a_carriage_return_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"id,text\ra,Nebel\rb,Wind")
    with pytest.raises(InputError) as error:
        lines_of(path, Faults())
    assert str(error.value) == (
        f"{path}: lines end in a carriage return alone, expected line feeds: save the file with"
        " line ends of Unix or Windows"
    )
    path.write_bytes(b"a\rb\nc")
    assert lines_of(path) == [(1, "a\rb"), (2, "c")]


def test_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none.txt: cannot be read: No such file"):
        lines_of(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        lines_of(tmp_path)


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    name = os.fsdecode(b"gr\xfcn.mp4")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).touch()
    (tmp_path / "train" / os.fsdecode(b"gr\xfcn.txt")).write_text("so")
    with pytest.raises(InputError, match=r"'gr\\udcfcn': a name that is not UTF-8"):
        read_corpus(f"folder:{tmp_path}?language=de")
