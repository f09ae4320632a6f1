"""The page says of a model's training what its card says, and nothing else of the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiny import tiny_translator
from unglossed.inference.web.export import told_training
from unglossed.models.about import read_about

CARD = """---
language: [de]
---

# A model

## Data

- Corpus: phoenix14t, texts in de.
- Signers of train: 9.

Text between.

- Sign language: DGS.

## Limits

- It is no interpreter.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_translator(tmp_path_factory.mktemp("model"))


def test_the_points_of_its_data_are_told(model: Path) -> None:
    (model / "README.md").write_text(CARD, encoding="utf-8")

    assert read_about(model) == (
        "Corpus: phoenix14t, texts in de.",
        "Signers of train: 9.",
        "Sign language: DGS.",
    )


@pytest.mark.parametrize("card", ["", "# A model", "\xff\xfe", "## Data\n## Limits\n- None."])
def test_a_card_without_data_says_nothing(model: Path, card: str) -> None:
    (model / "README.md").write_text(card, encoding="latin-1")

    assert read_about(model) == ()


def test_a_card_is_cut_where_it_is_long(model: Path) -> None:
    (model / "README.md").write_text("## Data\n" + f"- {'x' * 10_000}\n" * 1000, encoding="utf-8")

    told = read_about(model)

    assert len(told) == 20
    assert {len(line) for line in told} == {400}


def test_a_model_without_a_card(model: Path) -> None:
    (model / "README.md").unlink()

    assert read_about(model) == ()


def test_the_page_without_a_server_says_it_where_nothing_else_is_given(model: Path) -> None:
    (model / "README.md").write_text("# A model", encoding="utf-8")
    assert told_training(model, None) is None
    (model / "README.md").write_text(CARD, encoding="utf-8")
    told = "Corpus: phoenix14t, texts in de. Signers of train: 9. Sign language: DGS"
    assert told_training(model, None) == told
    assert told_training(model, "drawn signers") == "drawn signers"
