#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3.
# Expected: `batch_decode` gives a text for each row of token ids, so none for no row.
# Found: for an empty list it gives one empty text. An empty list is taken for a single row.
# Output seen: "no row: [''], one row: ['a'], an empty row: ['']".
# Ends with 1 once this is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cat > "$work/look.py" <<'PYTHON'
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])))
none, one, empty = (tokenizer.batch_decode(rows) for rows in ([], [[0]], [[]]))
print(f"no row: {none}, one row: {one}, an empty row: {empty}")
sys.exit(0 if (none, one, empty) == ([""], ["a"], [""]) else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py"
