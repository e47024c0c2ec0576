"""What the documentation shows: its pages, the code in them, and the commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*(ROOT / folder / "README.md" for folder in (".", "benchmarks", "results"))]
PAGES += [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(page: str) -> str:
    """The text of a page, named from the root of the checkout."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    """The fenced blocks of that language, in their order."""
    return [code for name, code in _FENCE.findall(read(page)) if name == language]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def displayed(page: str) -> list[str]:
    """Lines of shell that a page shows by themselves, indented or in a fence, without comments."""
    indented = re.findall(r"^    (\S.*(?:\n        .*)*)$", prose(page), re.MULTILINE)
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join([*blocks(page, "sh"), *indented]))
    return [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]


def inline(page: str) -> list[str]:
    """What stands between single backquotes, on one line or over two."""
    text = re.sub(r"^    .*$", "", prose(page), flags=re.MULTILINE)
    return [" ".join(code.split()).replace(r"\|", "|") for code in re.findall(r"`([^`]+)`", text)]


_SCRIPTS = {
    "experiments/run.py": "train",
    "experiments/jobs/slurm_seeds.sh": "train",
    "experiments/jobs/slurm_hosts.sh": "train",
    "experiments/jobs/slurm_study.sh": "study",
    "experiments/jobs/tpu_vm.sh": "train",
}


def command(line: str) -> tuple[str, list[str]] | None:
    """(name, words) of the command of physjax in a line of shell; None: there is none.

    What stands before it (variables, `srun`, the left side of a pipe) and where its output goes is
    no part of it, and neither is an ellipsis.
    """
    line = re.sub(r"\s*>\s*\S+$", "", line.rpartition(" | ")[2])
    name = r"physjax (?P<name>[a-z]+)|(?P<script>experiments/\S+\.(?:py|sh))"
    found = re.search(rf"(?:^|\s)(?:{name})(?=\s|$)", line)
    if found is None:
        return None
    script = found["script"] or ""
    called = found["name"] or _SCRIPTS.get(script, Path(script).stem)
    return called, [word for word in shlex.split(line[found.end() :]) if word != "..."]
