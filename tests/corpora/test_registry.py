import errno
import os
from pathlib import Path

import pytest

from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("/data/corpus", "no kind, expected kind:path with a kind of phoenix14t"),
        ("phoenix:/data", "unknown kind 'phoenix', expected one of phoenix14t"),
        ("phoenix14t:", "no path, expected kind:path"),
        ("phoenix14t:{tmp}/nowhere", "nowhere: no such file or folder, .* kind phoenix14t"),
        (
            "phoenix14t:{tmp}?lang=en",
            "unknown option 'lang', expected language=CODE, media=FOLDER, missing=skip, tier=",
        ),
        ("phoenix14t:{tmp}?language=English", "language 'English', expected a code"),
        ("phoenix14t:{tmp}?missing=no", "missing 'no', expected skip"),
        ("phoenix14t:{tmp}?media=/nowhere", "/nowhere: no such folder, expected the clips of"),
        ("phoenix14t:{tmp}?en", "option 'en', expected language=CODE"),
        (
            "phoenix14t:{tmp}?media={tmp}&language=de&media={tmp}",
            "found the option 'media' twice, expected it once",
        ),
    ],
)
def test_wrong_spec_is_one_clear_line(tmp_path, spec, message):
    with pytest.raises(InputError, match=message) as error:
        read_corpus(spec.format(tmp=tmp_path))
    assert "\n" not in str(error.value)


def test_corpus_shows_what_it_holds(write_corpus_folder):
    spec = f"phoenix14t:{write_corpus_folder()}"
    expected = f"Corpus('{spec}', language='de', train: 2, dev: 1, test: 1)"
    assert repr(read_corpus(spec)) == expected


@pytest.mark.parametrize("kind", ["folder", "phoenix14t", "how2sign", "gfslt", "must_c"])
def test_folder_that_cannot_be_listed_is_named_with_the_reason(tmp_path, monkeypatch, kind):
    listed = os.scandir

    def scandir(path):
        if Path(path) == tmp_path / "mine":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    for spec in (f"{kind}:{tmp_path}/mine", f"{kind}:{tmp_path}?media={tmp_path}/mine"):
        with pytest.raises(InputError) as error:
            read_corpus(spec)
        assert str(error.value) == f"{tmp_path}/mine: cannot be listed: Permission denied"


def test_path_that_leads_round_in_a_circle(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"loop: cannot be opened: Too many levels of symbolic"):
        read_corpus(f"folder:{tmp_path}/loop")


def test_home_folder_is_expanded(write_corpus_folder, monkeypatch):
    base = write_corpus_folder()
    monkeypatch.setenv("HOME", str(base.parent))
    assert len(read_corpus("phoenix14t:~").split("train")) == 2


def test_a_plus_in_an_option_is_a_plus(tmp_path):
    with pytest.raises(InputError, match=r"^/nowhere/a\+b c: no such folder"):
        read_corpus(f"phoenix14t:{tmp_path}?media=/nowhere/a+b%20c")


def test_interlaced_videos_are_made_whole_where_the_spec_asks_for_it(tmp_path):
    for split in ("train", "dev"):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{split}.mp4").touch()
        (tmp_path / split / f"{split}.txt").write_text("so")
    asked = read_corpus(f"folder:{tmp_path}?language=de&deinterlace=yes")
    assert all(sample.deinterlace for sample in asked.split("train"))
    assert not any(
        sample.deinterlace for sample in read_corpus(f"folder:{tmp_path}?language=de").split("dev")
    )
    with pytest.raises(InputError, match="deinterlace 'no', expected yes"):
        read_corpus(f"folder:{tmp_path}?language=de&deinterlace=no")
    with pytest.raises(InputError, match="'deinterlace', which is for videos: packed has none"):
        read_corpus(f"packed:{tmp_path}?deinterlace=yes")
