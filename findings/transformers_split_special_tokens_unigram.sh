#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3.
# Expected: `split_special_tokens=True` takes "</s>" in a sentence for four letters.
# Found: with a Unigram tokenizer (mBART, T5, XLM-R) the end token comes all the same. The option only
# keeps the text from being cut at added tokens; the Unigram model then finds "</s>" among its own
# pieces, with the best score of all. A byte-pair tokenizer does spell it.
# Output seen: "unigram: ['▁a', '</s>']" and "bpe: ['a', '<', '/', 's', '>']".
# Ends with 1 once this is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cat > "$work/look.py" <<'PYTHON'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

LETTERS = ["a", "<", "/", "s", ">", "\u2581"]
pieces = [("<unk>", 0.0), ("</s>", 0.0), ("\u2581a", -2.0), *((one, -3.0) for one in LETTERS)]
unigram = Tokenizer(models.Unigram(pieces, unk_id=0))
unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
names = ["<unk>", "</s>", *LETTERS]
bpe = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="<unk>"))
found = {}
for name, core in (("unigram", unigram), ("bpe", bpe)):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    found[name] = tokenizer.tokenize("a</s>", split_special_tokens=True)
    print(f"{name}: {found[name]}")
same = "</s>" in found["unigram"] and "</s>" not in found["bpe"]
sys.exit(0 if same else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py"
