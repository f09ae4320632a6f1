#!/usr/bin/env bash
# pip: where hashes are asked for, an earlier build wins if the index states its hash.
#
# Package: pip 26.3; Python 3.11.
# Expected: of the versions that a requirement allows and whose hashes are listed, the newest is
#   taken; `2.0+cpu` before `2.0`, as PEP 440 orders local versions.
# Happens: a file whose hash stands behind `#sha256=` in an index's page is taken before a newer one
#   whose hash does not, although both hashes are listed and right. A project that lists the hashes of
#   two builds gets the other build, by where its pages come from.
#   Output seen:
#     plain: 2.0+cpu
#     hashed: 2.0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
cat > "$work/make.py" <<'PY'
"""Two wheels of one version, on one page that states the hash of the plain one alone."""

import hashlib
import sys
import zipfile
from pathlib import Path

root = Path(sys.argv[1])
links, hashes = [], []
for version in ("2.0", "2.0+cpu"):
    name = f"builds-{version}-py3-none-any.whl"
    about = f"builds-{version}.dist-info"
    with zipfile.ZipFile(root / name, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: builds\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    found = hashlib.sha256((root / name).read_bytes()).hexdigest()
    hashes.append(f"--hash=sha256:{found}")
    stated = f"#sha256={found}" if version == "2.0" else ""
    links.append(f'<a href="{(root / name).as_uri().replace("+", "%2B")}{stated}">{name}</a>')
(root / "page.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")
(root / "plain.txt").write_text("builds==2.0\n")
(root / "hashed.txt").write_text("builds==2.0 " + " ".join(hashes) + "\n")
PY
"$work/venv/bin/python" "$work/make.py" "$work"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check pip==26.3
for list in plain hashed; do
	"$work/venv/bin/python" -m pip install -q --no-index --force-reinstall \
		--find-links "$work/page.html" --requirement "$work/$list.txt"
	found=$("$work/venv/bin/python" -c 'from importlib.metadata import version; print(version("builds"))')
	echo "$list: $found"
	[ "$list-$found" = plain-2.0+cpu ] || [ "$list-$found" = hashed-2.0 ]
done
echo "as described"
