"""Hook of mkdocs: files outside docs/ that a page links to become pages of the site.

So one link is right in a clone, on a code host and on the site. Source code is shown as code, the
Markdown files at the root as pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_HEAD = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each file outside docs/ that pages, or those pages in turn, link to."""
    waiting = [
        (f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()
    ]
    added: set[str] = set()
    while waiting:
        origin, text = waiting.pop()
        for link in _links(text):
            target = _target(origin, link)
            if target is None or _is_page(target) or target in added:
                continue
            if not (ROOT / target).is_file():
                continue  # mkdocs says that the link leads nowhere
            added.add(target)
            content = (ROOT / target).read_text(encoding="utf-8")
            if not target.endswith(".md"):
                kind = posixpath.splitext(target)[1].lstrip(".")
                content = f"# `{target}`\n\n`````{kind}\n{content}\n`````\n"
            else:
                waiting.append((target, content))
            files.append(File.generated(config, _page_of(target), content=_HEAD + content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that leave docs/ to the pages made of their files."""
    here = page.file.src_uri
    origin = here.removeprefix("source/") if here.startswith("source/") else f"docs/{here}"
    if here.startswith("source/") and not (ROOT / origin).is_file():
        return markdown  # code

    def lead(match: re.Match[str]) -> str:
        target = _target(origin, match[2])
        if target is None:
            return match[0]
        anchor = match[2].partition("#")[1:]
        path = posixpath.relpath(_page_of(target), posixpath.dirname(here) or ".")
        return match[1] + path + "".join(anchor) + match[3]

    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(lead, part) for part in parts[::2]]
    return "".join(parts)


def _links(text: str) -> list[str]:
    return [match[1] for part in _CODE.split(text)[::2] for match in _LINK.findall(part)]


def _target(origin: str, link: str) -> str | None:
    """The file of the repository that a link of a file means; None: none of it."""
    path = link.partition("#")[0]
    if not path or "://" in link or link.startswith("mailto:"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))


def _is_page(target: str) -> bool:
    """Whether the site has a file as it is: what lies in docs/, but for scripts."""
    return target.startswith("docs/") and not target.endswith(".py")


def _page_of(target: str) -> str:
    """Where the site has a file of the repository, from docs/."""
    if _is_page(target):
        return target.removeprefix("docs/")
    name = target.removeprefix(".")  # mkdocs leaves out what is hidden
    return f"source/{name}" if name.endswith(".md") else f"source/{name}.md"
