#!/usr/bin/env bash
# py3langid: short sentences in Mandarin are called Wu, unless the languages are restricted.
#
# Package: py3langid 0.4.0, whose model knows 139 languages (0.3 knew 97, and no Wu); numpy 2.4.6.
# Expected: plain sentences in Standard Chinese, in simplified characters and without a word of a
#   dialect, are `zh`, the code of what nearly all text in these characters is in.
# Happens: most of these are `wuu`. Who compares the answer with "zh", as with earlier versions and
#   with langid, takes right texts for wrong ones. With set_languages(["de", "en", "zh"]) all are zh.
#   Output seen:
#     all languages: wuu wuu wuu wuu zh
#     three languages: zh zh zh zh zh
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q py3langid==0.4.0 numpy==2.4.6
cat > "$work/tell.py" <<'PY'
import py3langid

SENTENCES = ["今天南部有阵雨", "南部夜间有雪", "今天夜间北部有雷雨", "明天沿海会有风", "我们明天去北京看朋友"]


def told() -> str:
    return " ".join(py3langid.classify(sentence)[0] for sentence in SENTENCES)


print("all languages:", told())
py3langid.set_languages(["de", "en", "zh"])
print("three languages:", told())
PY
"$work/venv/bin/python" "$work/tell.py" | tee "$work/out"
grep -q "^all languages: wuu wuu wuu wuu" "$work/out"
grep -q "^three languages: zh zh zh zh zh$" "$work/out"
echo "as described"
