#!/usr/bin/env python3
"""Every relative link in the given Markdown files leads to a file that is there, and to a heading in it."""

import re
import sys
from pathlib import Path
from urllib.parse import unquote

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
IMAGE = re.compile(r"!\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def anchors(text: str) -> set[str]:
    """The names that the usual Markdown hosts give to headings."""
    names: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        unique, count = name, 0
        while unique in names:
            count += 1
            unique = f"{name}-{count}"
        names.add(unique)
    return names


def broken(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    prose = CODE.sub("", FENCE.sub("", text))
    targets = [a or b for a, b in LINK.findall(prose)] + IMAGE.findall(prose)
    problems = []
    for target in targets:
        if SCHEME.match(target):
            continue
        path, _, anchor = unquote(target).partition("#")
        there = (file.parent / path).resolve() if path else file
        if not there.exists():
            problems.append(f"{file}: no such file: {target}")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text(encoding="utf-8")):
            problems.append(f"{file}: no such heading: {target}")
    return problems


def main() -> None:
    problems = [problem for name in sys.argv[1:] for problem in broken(Path(name))]
    print("\n".join(problems) or f"{len(sys.argv) - 1} files: every link leads somewhere")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
