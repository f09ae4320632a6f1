"""Asks PyPI whether a listed package has a known vulnerability, by pip-audit: make audit.

pip-audit tells "No known vulnerabilities found" also where an index answered to none of its
questions. Here that is "not asked", and a line of its own; the exit code is 1 for a vulnerability,
and 0 where nothing could be asked, unless `--must-ask`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from requirements.lists import FOLDER

# torch-cpu.txt is the torch of torch.txt.
LISTS = ("torch", "cuda", "core", "dev", "docs", "smollm2", "tools")


@dataclass(frozen=True)
class Answer:
    """What pip-audit found out.

    Attributes:
        asked: How many packages the index knew.
        silent: Names of those of which it said nothing, with the reason.
        found: A line for each vulnerability.
    """

    asked: int
    silent: tuple[str, ...]
    found: tuple[str, ...]


def read_answer(report: dict[str, Any]) -> Answer:
    """The answer in a report of pip-audit (`--format json`)."""
    silent, found, asked = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            silent.append(f"{package['name']}: {package['skip_reason']}")
            continue
        asked += 1
        for fault in package["vulns"]:
            names = ", ".join([fault["id"], *fault.get("aliases", [])])
            mended = ", ".join(fault["fix_versions"]) or "no release yet"
            found.append(f"{package['name']} {package['version']}: {names}; mended in {mended}")
    return Answer(asked, tuple(silent), tuple(found))


def conclude(answer: Answer, must_ask: bool) -> tuple[list[str], int]:
    """What is said of an answer, and the exit code."""
    lines = list(answer.found)
    if not answer.asked:
        reason = answer.silent[0] if answer.silent else "no package is listed"
        return [f"audit: nothing could be asked ({reason})"], int(must_ask)
    lines += [f"audit: not asked: {line}" for line in answer.silent]
    lines.append(f"audit: {answer.asked} packages asked, {len(answer.found)} vulnerabilities")
    return lines, int(bool(answer.found) or (must_ask and bool(answer.silent)))


def run_pip_audit() -> tuple[dict[str, Any] | None, str]:
    """The report of pip-audit on all lists, or none and its last words."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--disable-pip", "--require-hashes"]
    for name in LISTS:
        command += ["--requirement", str(FOLDER / f"{name}.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout), ""
    except json.JSONDecodeError:
        words = done.stderr.strip().splitlines()
        return None, words[-1] if words else f"pip-audit ended with code {done.returncode}"


def main() -> int:
    """Ask, say what was found, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--must-ask", action="store_true", help="exit code 1 also where a package was not asked"
    )
    must_ask = parser.parse_args().must_ask
    report, words = run_pip_audit()
    if report is None:
        print(f"audit: nothing could be asked ({words})")
        return int(must_ask)
    lines, code = conclude(read_answer(report), must_ask)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
