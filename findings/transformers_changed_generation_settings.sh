#!/usr/bin/env bash
# transformers 5.23.0.
# Expected: generation settings that load and save can be saved as well once a token's id is changed
# in them, as after a vocabulary is cut.
# Found: a fault in them that has nothing to do with the change, such as a temperature without
# sampling (the chat models of Llama 2 were published so), is only noted while they are as loaded;
# once any field differs, saving them, or the model, raises. Written by `to_json_file` and loaded
# again they can be saved.
# Output seen: "as loaded: saved", "another end token: refused", "written and loaded again: saved".
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

from transformers import GenerationConfig

work = Path(sys.argv[1])
settings = {"do_sample": False, "temperature": 0.6, "eos_token_id": 2}
(work / "generation_config.json").write_text(json.dumps(settings))
found = GenerationConfig.from_pretrained(work)


def save(what: str) -> bool:
    try:
        found.save_pretrained(work / "saved")
    except ValueError:
        print(f"{what}: refused")
        return False
    print(f"{what}: saved")
    return True


saved = [save("as loaded")]
found.eos_token_id = 1
saved.append(save("another end token"))
found.to_json_file(work / "generation_config.json")
found = GenerationConfig.from_pretrained(work)
saved.append(save("written and loaded again"))
sys.exit(0 if saved == [True, False, True] and found.eos_token_id == 1 else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py" "$work"
