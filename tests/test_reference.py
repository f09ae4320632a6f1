"""The pages of docs/reference are those of today's code, and each key says what it does."""

import re
import runpy
from pathlib import Path

import pytest

import unglossed

FOLDER = Path(__file__).parents[1] / "docs/reference"
MAKE = runpy.run_path(str(FOLDER / "make.py"))
list_keys = MAKE["list_keys"]
render_page = MAKE["render_recipe_keys"]


@pytest.mark.parametrize("name", ["recipe_keys", "command_line"])
def test_the_page_is_up_to_date(name: str) -> None:
    page = (FOLDER / f"{name.replace('_', '-')}.md").read_text(encoding="utf-8")
    assert page == MAKE[f"render_{name}"](), "python docs/reference/make.py writes it"


def test_every_public_name_is_in_the_reference_of_python() -> None:
    page = (FOLDER / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: unglossed\.(\w+)$", page, flags=re.MULTILINE)
    assert sorted(shown) == sorted(set(unglossed.__all__) - {"__version__"})


def test_every_command_and_option_is_on_the_page() -> None:
    page = MAKE["render_command_line"]()
    assert "\n## `unglossed corpus check`\n" in page
    assert "\nunglossed translate MODEL FILES... [OPTIONS]\n" in page
    assert "| `--n-best N` | Translations of each video. | `1` |" in page
    assert "| `--corpus SPEC` |" in page
    assert "| must be given |" in page


def test_each_key_has_a_row_that_says_what_it_does() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.*?) \|$", render_page(), re.MULTILINE)
    assert len(rows) == len(list(list_keys()))
    for name, value, default, meaning in rows:
        assert value.strip(), name
        assert default.strip(), name
        assert len(meaning) > 5, name


def test_a_row_says_what_may_be_given_and_what_holds_otherwise() -> None:
    page = render_page()
    assert "| `frame_share` | number above 0 to 1 | `0.25` |" in page
    assert "| `epochs` | integer above 0 to 1,000,000 | must be given |" in page
    assert '| `precision` | `auto`, `float32`, `bfloat16` | `"auto"` |' in page
    assert "| `frame_budget` | integer above 0 to 1,000,000,000 or null |" in page
    assert "\n## `stages.NAME.language_model.lora`\n" in page


def test_keys_are_named_as_on_the_command_line() -> None:
    keys = set(list_keys())
    assert {"seed", "video.augmentation.colour", "stages", "stages.NAME.schedule.warmup"} <= keys
