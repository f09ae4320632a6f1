#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3.
# Expected: `AutoTokenizer` of a folder cuts texts as the folder's tokenizer.json says.
# Found: where tokenizer_config.json names a class that builds its own pipeline (GPT2Tokenizer, Gemma,
# Qwen2, ...), only vocabulary and merges are taken from the file. What it says of how texts are cut is
# replaced by the class's way, without a warning. Here: digits one by one, with GPT-2's class, as SmolLM2
# is published.
# Output seen: "file: ['1', '2']  loaded: ['12']".
# Ends with 1 once this is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cat > "$work/look.py" <<'PYTHON'
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

folder = Path(sys.argv[1])
folder.mkdir()
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
names = ["<eos>", *alphabet, "12"]
core = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [("1", "2")]))
core.pre_tokenizer = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
)
core.decoder = decoders.ByteLevel()
core.save(str(folder / "tokenizer.json"))
settings = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<eos>"}
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
(folder / "config.json").write_text('{"model_type": "llama"}')
written = core.encode("12").tokens
loaded = AutoTokenizer.from_pretrained(folder).tokenize("12")
print(f"file: {written}  loaded: {loaded}")
sys.exit(0 if (written, loaded) == (["1", "2"], ["12"]) else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py" "$work/model"
