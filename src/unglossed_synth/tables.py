"""A generated corpus's clips as a table, with their texts in one language or in several."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from unglossed.corpora.registry import read_corpus
from unglossed.files import write_text


def write_table(
    corpus: Path,
    path: Path,
    languages: Sequence[str],
    kind: str = "phoenix14t",
    num_train: int | None = None,
) -> None:
    """Write a corpus of the kind `table`: the clips of a generated corpus, a row a language.

    Args:
        corpus: folder of the generated corpus.
        path: the table, JSONL.
        languages: codes; of several each row has its language behind its id, `clip00001-de`.
        kind: that reads the corpus.
        num_train: how many clips of train, the first ones; None: all.

    Raises:
        InputError: the corpus is not as it must be.
    """
    lines = (corpus / "generated.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    rows = []
    for name, samples in read_corpus(f"{kind}:{corpus}").splits.items():
        for sample in samples[: num_train if name == "train" else None]:
            row = {
                "media": os.path.relpath(sample.media, path.parent),
                "split": name,
                "signer": sample.signer,
                "start": sample.start_seconds,
                "end": sample.end_seconds,
            }
            row = {key: value for key, value in row.items() if value is not None}
            for code in languages:
                own = f"{sample.id}-{code}" if len(languages) > 1 else sample.id
                rows.append({"id": own, "text": texts[sample.id][code], "language": code, **row})
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
