"""What a real bash completes with the script that `physjax --print-completion bash` prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from physjax.cli import COMMANDS

BASH = shutil.which("bash")


def printed(shell: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "physjax", "--print-completion", shell],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "physjax.bash"
    path.write_text(printed("bash").stdout, encoding="utf-8")
    return path


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["tr"], {"train"}),
        ([""], set(COMMANDS)),
        (["train", "--learning"], {"--learning-rate"}),
        (["train", "--recipe", "sp"], {"speedrun"}),
        (["train", "--model", "alex"], {"alexnet"}),
        (["train", "--precision", ""], {"float32", "bf16"}),
    ],
)
def test_bash_completes(script: Path, words: list[str], wanted: set[str]) -> None:
    given = " ".join(f"'{word}'" for word in ["physjax", *words])
    code = f"""
        source {script}
        function=$(complete -p physjax | sed -n 's/.*-F \\([^ ]*\\).*/\\1/p')
        COMP_WORDS=({given}); COMP_CWORD={len(words)}
        COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
        $function physjax "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [str(BASH), "--norc", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.split())
    assert wanted <= found
    assert all(word.startswith(words[-1]) for word in found)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_scripts_too(shell: str) -> None:
    assert "learning-rate" in printed(shell).stdout


def test_a_shell_without_completion_is_refused() -> None:
    done = printed("cmd.exe")
    assert done.returncode == 2
    assert done.stderr == "error: there is no completion for 'cmd.exe'; choose bash, zsh, fish\n"
