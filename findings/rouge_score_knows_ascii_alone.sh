#!/usr/bin/env bash
# rouge-score 0.1.2: letters beyond a to z and digits are spaces to it, in references and texts.
#
# One would expect ROUGE-L of a text with itself to be 1 in any language, and a word with an umlaut
# to be one word. Its default tokenizer keeps lower-case ASCII letters and digits and cuts at all
# else. So a Chinese or Russian text has ROUGE-L 0 against itself; a German word falls into pieces at
# each umlaut, by which `süden` is the same as `s den`, and one wrong umlaut costs as much as two
# wrong words. Published ROUGE-L of sign language translation into German differ by this alone, and
# those into Chinese are of another tool or of texts that were spelt out in something else.
# `evaluate`'s metric `rouge` is this package.
#
# Seen:
#   明天北方有雨 / 明天北方有雨: 0.000
#   süden / s den: 1.000
#   im süden regnet es / im suden regnet es: 0.667
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q rouge-score==0.1.2
"$folder/env/bin/python" - <<'PYTHON'
import sys

from rouge_score.rouge_scorer import RougeScorer

PAIRS = (
    ("明天北方有雨", "明天北方有雨"),
    ("süden", "s den"),
    ("im süden regnet es", "im suden regnet es"),
)
scorer = RougeScorer(["rougeL"])
found = [f"{scorer.score(one, other)['rougeL'].fmeasure:.3f}" for one, other in PAIRS]
for (one, other), value in zip(PAIRS, found):
    print(f"{one} / {other}: {value}")
sys.exit(found != ["0.000", "1.000", "0.667"])
PYTHON
