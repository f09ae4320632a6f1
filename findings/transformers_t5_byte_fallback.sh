#!/usr/bin/env bash
# transformers 5.23.0, tokenizers 0.23.3, sentencepiece 0.2.3.
# Expected: a T5 tokenizer of a SentencePiece model with byte fallback (as mT5's is) spells a character
# that has no piece by its bytes, as SentencePiece does.
# Found: the bytes stay in the vocabulary, but the fallback is off: the character is <unk>, and gone after
# decoding. LlamaTokenizer keeps it.
# Output seen: "sentencepiece: 'ab ☂'  transformers: 'ab'".
# Ends with 1 once this is otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf
cat > "$work/look.py" <<'PYTHON'
import sys
from pathlib import Path

import sentencepiece
from transformers import AutoTokenizer

folder = Path(sys.argv[1])
folder.mkdir()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["ab ba abba baab"] * 20),
    model_prefix=str(folder / "spiece"),
    vocab_size=270,
    byte_fallback=True,
    hard_vocab_limit=False,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    minloglevel=2,
)
(folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
(folder / "config.json").write_text('{"model_type": "mt5"}')
text = "ab \u2602"
pieces = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model"))
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer(text, add_special_tokens=False)["input_ids"]
first = pieces.decode(pieces.encode(text))
second = tokenizer.decode(ids, skip_special_tokens=True).strip()
print(f"sentencepiece: {first!r}  transformers: {second!r}")
sys.exit(0 if (first, second) == (text, "ab") else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py" "$work/model"
