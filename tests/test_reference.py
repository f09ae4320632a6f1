"""The page of a recipe's keys is that of today's settings, and each key says what it does."""

import re
from pathlib import Path

from unglossed.training.recipe_keys import list_keys, render_page

PAGE = Path(__file__).parents[2] / "docs/recipe-keys.md"


def test_the_page_is_up_to_date() -> None:
    page = render_page()
    assert PAGE.read_text(encoding="utf-8") == page, (
        "python -m unglossed.training.recipe_keys > docs/recipe-keys.md"
    )


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
