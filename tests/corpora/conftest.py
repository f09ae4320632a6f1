"""A miniature of the PHOENIX14T layout with its quirks; sentences invented for the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

HEADER = "name|video|start|end|speaker|orth|translation"
ROWS = {
    "train": [
        ("01May_2010-1", "Signer01", "MORGEN NORD REGEN", 'morgen fällt im norden „etwas" regen'),
        ("01May_2010-2", "Signer02", "SONNE STARK", "überall viel sonne"),
    ],
    "dev": [("02May_2010-1", "Signer01", "NEBEL", "in den tälern nebel, sonst klar")],
    "test": [("03May_2010-1", "Signer09", "WIND OST", "im osten weht ein frischer wind")],
}


@pytest.fixture
def write_corpus_folder(tmp_path: Path) -> Callable[..., Path]:
    """Gives a function that writes the miniature and returns its inner folder."""

    def write(rows: dict[str, list[tuple[str, str, str, str]]] | None = None) -> Path:
        base = tmp_path / "PHOENIX-2014-T-release-v3" / "PHOENIX-2014-T"
        (base / "annotations/manual").mkdir(parents=True)
        for split, split_rows in (rows or ROWS).items():
            lines = [HEADER]
            for name, signer, gloss, text in split_rows:
                lines.append(f"{name}|{name}/1/*.png|-1|-1|{signer}|{gloss}|{text}")
                folder = base / "features/fullFrame-210x260px" / split / name
                folder.mkdir(parents=True)
                for number in (1, 2, 4):
                    picture = np.full((26, 21, 3), 40 * number, np.uint8)
                    picture[:, 4 * number : 4 * number + 4] = 250
                    cv2.imwrite(str(folder / f"images{number:04d}.png"), picture)
                (folder / "createDnnTrainingLabels-profile.py.lprof").write_text("stray")
            path = base / "annotations/manual" / f"PHOENIX-2014-T.{split}.corpus.csv"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return base

    return write
