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
            "unknown option 'lang', expected language=CODE, media=FOLDER, missing=skip or tier=",
        ),
        ("phoenix14t:{tmp}?language=English", "language 'English', expected a code"),
        ("phoenix14t:{tmp}?missing=no", "missing 'no', expected skip"),
        ("phoenix14t:{tmp}?media=/nowhere", "/nowhere: no such folder, expected the clips of"),
        ("phoenix14t:{tmp}?en", "option 'en', expected language=CODE"),
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


def test_home_folder_is_expanded(write_corpus_folder, monkeypatch):
    base = write_corpus_folder()
    monkeypatch.setenv("HOME", str(base.parent))
    assert len(read_corpus("phoenix14t:~").split("train")) == 2
