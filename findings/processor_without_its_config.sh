#!/usr/bin/env bash
# A processor that is saved and loaded with transformers: what happens when its settings get lost.
#
# Package: transformers 5.23.0 (with tokenizers 0.23.3), Python 3.11, no torch.
# Expected: `from_pretrained` of a folder whose processor_config.json is gone raises an error, as it
#   does for a missing config.json: the settings in that file were saved with the processor.
# Happens: it loads, exit code 0, without a warning. Every setting is the constructor's default.
#   Output seen:
#     whole: rate 8000
#     without processor_config.json: rate 16000
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3
cat > "$work/lose.py" <<'PY'
import sys
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, ProcessorMixin


class Recorder(ProcessorMixin):
    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(self, tokenizer=None, rate=16000, **kwargs):
        self.rate = rate
        super().__init__(tokenizer, **kwargs)


folder = Path(sys.argv[1])
words = Tokenizer(WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
Recorder(tokenizer, rate=8000).save_pretrained(folder)
whole = Recorder.from_pretrained(folder).rate
(folder / "processor_config.json").unlink()
lost = Recorder.from_pretrained(folder).rate
print("whole: rate", whole)
print("without processor_config.json: rate", lost)
sys.exit(0 if (whole, lost) == (8000, 16000) else 1)
PY
HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/lose.py" "$work/saved"
