#!/usr/bin/env bash
# pysubs2: what is set as `plaintext` is written as markup, in SubRip and in WebVTT.
#
# Package: pysubs2 1.8.1; Python 3.11.
# Expected: `SSAEvent.plaintext = text` takes text as it is, so that writing the file and reading it
#   gives that text back; in WebVTT, which has escapes for it, `&` and `<` are written `&amp;`, `&lt;`
#   (W3C WebVTT, section 6.4: cue text).
# Happens: text in braces is gone from the file, as if it were a tag of SubStation; in WebVTT nothing
#   is escaped, so that a reader takes `<laughs>` for a tag and shows the rest without it.
#   Output seen:
#     'rain {heavy} at 5'  vtt has: rain  at 5            read back: 'rain  at 5'
#     'rain <laughs> & sun' vtt has: rain <laughs> & sun   read back: 'rain  & sun'
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pysubs2==1.8.1
cat > "$work/look.py" <<'PY'
from pysubs2 import SSAEvent, SSAFile

seen = {}
for text in ("rain {heavy} at 5", "rain <laughs> & sun"):
    event = SSAEvent(start=0, end=1000)
    event.plaintext = text
    subtitles = SSAFile()
    subtitles.append(event)
    for form in ("srt", "vtt"):
        written = subtitles.to_string(form)
        shown = written.strip().splitlines()[-1]
        (read,) = SSAFile.from_string(written, format_=form)
        seen[text, form] = shown, read.plaintext
        print(f"{text!r} {form} has: {shown}  read back: {read.plaintext!r}")
for form in ("srt", "vtt"):
    assert seen["rain {heavy} at 5", form] == ("rain  at 5", "rain  at 5")
assert seen["rain <laughs> & sun", "vtt"] == ("rain <laughs> & sun", "rain  & sun")
PY
"$work/venv/bin/python" "$work/look.py"
echo "as described"
