"""The job files: their shell is sound, their manifests hang together, their options exist.

What a cluster makes of them is seen in tests/train/test_slurm.py, where there is SLURM.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from physjax.cli import common, options, study
from physjax.errors import REQUEUE

ROOT = Path(__file__).resolve().parents[1]
JOBS = ROOT / "experiments" / "jobs"
SCRIPTS = sorted(JOBS.glob("*.sh"))
MANIFESTS = sorted(JOBS.glob("*.yaml"))
DOCKERFILES = sorted(JOBS.glob("Dockerfile.*"))


def test_the_job_files_are_those_that_the_docs_name() -> None:
    page = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
    assert {p.name for p in JOBS.iterdir()} == set(re.findall(r"experiments/jobs/([\w.]+)", page))


def test_shellcheck_has_nothing_to_say() -> None:
    beside = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("shellcheck")
    assert program is not None, "shellcheck comes with the extra `test`"
    done = subprocess.run(
        [program, *map(str, SCRIPTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert all(os.access(script, os.X_OK) for script in SCRIPTS)


def test_the_options_that_the_job_files_give_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = {}
    for name, parse in (
        ("train", lambda: common.parse(["--help"])),
        ("study", lambda: options.parse(study.Command, ["--help"])),
    ):
        with pytest.raises(SystemExit):
            parse()
        known[name] = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    given = []
    for script in SCRIPTS:
        # A command goes on in the next line after a backslash.
        text = script.read_text(encoding="utf-8").replace("\\\n", " ")
        for name, words in re.findall(r"physjax (train|study)\b([^;\n]*)", text):
            given += [(name, option) for option in re.findall(r"(--[a-z-]+)", words)]
    for manifest in MANIFESTS:
        command, *words = container(manifest)["args"]
        given += [(command, word.partition("=")[0]) for word in words]
    assert len(given) > 8
    assert [(name, option) for name, option in given if option not in known[name]] == []


@pytest.mark.parametrize(
    "script", [p for p in SCRIPTS if p.name.startswith("slurm")], ids=lambda p: p.stem
)
def test_every_setting_of_slurm_is_explained_and_what_preemption_needs_is_there(
    script: Path,
) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    settings = {}
    for above, line in itertools.pairwise(lines):
        if line.startswith("#SBATCH "):
            name, _, value = line.removeprefix("#SBATCH ").partition("=")
            settings[name] = value
            # A line above it, or above the settings that it is of one mind with.
            assert above.startswith(("# ", "#SBATCH ")), line
    assert "--requeue" in settings
    assert settings["--open-mode"] == "append"
    assert settings["--ntasks-per-node"] == "1"
    assert re.fullmatch(r"USR1@\d+", settings["--signal"])
    assert "exec experiments/jobs/requeue.sh srun " in "\n".join(lines)


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    while text not in process.stdout.readline():
        assert process.poll() is None


STAND_IN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR1, signal.SIG_DFL)
print("at work", flush=True)
{work}
sys.exit({code})
"""


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the words that scontrol was called with."""
    called = tmp_path / "called"
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {called}\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    return called


def requeue(work: str, code: int) -> subprocess.Popen[str]:
    words = [str(JOBS / "requeue.sh"), sys.executable, "-c", STAND_IN.format(work=work, code=code)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("code", [0, 1, 2, 130, 143])
def test_a_job_is_queued_again_where_the_command_says_so(scontrol: Path, code: int) -> None:
    process = requeue("", code)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert scontrol.exists() == (code == REQUEUE)
    if scontrol.exists():
        assert scontrol.read_text(encoding="utf-8") == "requeue 17\n"


def test_a_warning_to_the_shell_ends_nothing(scontrol: Path) -> None:
    process = requeue("time.sleep(1)", 143)
    wait_for_line(process, "at work")
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert scontrol.exists()


@pytest.mark.parametrize("code", [0, 143])
def test_a_job_that_is_cancelled_waits_for_the_command_and_is_not_queued_again(
    scontrol: Path, code: int
) -> None:
    process = requeue("time.sleep(1.5)", code)
    wait_for_line(process, "at work")
    began = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert time.monotonic() - began > 1
    assert not scontrol.exists()


GCLOUD = """#!/usr/bin/env bash
# Stands for a slice of two hosts: they run here, one after the other.
echo "$4" >> "$SLICE/called"
case "$4" in
  describe) cat "$SLICE/state" ;;
  create) echo READY > "$SLICE/state" ;;
  delete) rm "$SLICE/state" ;;
  ssh) for host in 0 1; do for word in "$@"; do
      case "$word" in --command=*) (cd "$SLICE" && HOST=$host bash -c "${word#--command=}") ;; esac
    done; done ;;
esac
"""
PHYSJAX = """#!/usr/bin/env bash
# Preempted once, then done.
for word in "$@"; do echo "$word" >> "$SLICE/words-$HOST"; done
[ "$HOST" = 1 ] || exit "$(cat "$SLICE/next")"
code="$(cat "$SLICE/next")"
echo "$FINALLY" > "$SLICE/next"
[ "$code" != 143 ] || echo PREEMPTED > "$SLICE/state"
exit "$code"
"""


@pytest.mark.parametrize("end", [0, 2])
def test_a_slice_that_is_preempted_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: int
) -> None:
    """With stand-ins for gcloud, git, make and the command; the words arrive as they were given."""
    programs = tmp_path / "programs"
    programs.mkdir()
    stand_ins = {"gcloud": GCLOUD, "git": "#!/bin/sh\n", "make": "#!/bin/sh\n"}
    for name, text in stand_ins.items():
        (programs / name).write_text(text, encoding="utf-8")
    command = tmp_path / "physjax" / ".venv" / "bin" / "physjax"
    command.parent.mkdir(parents=True)
    command.write_text(PHYSJAX, encoding="utf-8")
    for path in [command, *programs.iterdir()]:
        path.chmod(0o755)
    (tmp_path / "next").write_text("143\n", encoding="utf-8")
    for name, value in {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SLICE": str(tmp_path),
        "FINALLY": str(end),
        "TPU": "slice",
        "ZONE": "zone",
        "SHARED": "/mnt/a b",
        "PAUSE": "0",
    }.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [str(JOBS / "tpu_vm.sh"), "--name", "it's $HOME"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == end, done.stderr
    made = ["create", "ssh", "ssh"]
    called = (tmp_path / "called").read_text(encoding="utf-8").split()
    again = ["describe", "delete", *made]
    assert called == ["describe", *made, *again] + ["describe"] * (end != 0)
    words = ["train", "--distributed", "--runs-dir=/mnt/a b/runs", "--name", "it's $HOME"]
    for host in (0, 1):
        text = (tmp_path / f"words-{host}").read_text(encoding="utf-8")
        assert text.splitlines() == 2 * words


def container(manifest: Path) -> dict[str, Any]:
    (job,) = yaml.safe_load(manifest.read_text(encoding="utf-8"))["spec"]["replicatedJobs"]
    (found,) = job["template"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda p: p.stem)
def test_what_a_jobset_says_in_several_places_agrees(manifest: Path) -> None:
    content = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    assert (content["apiVersion"], content["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    spec = content["spec"]
    (job,) = spec["replicatedJobs"]
    pods = job["template"]["spec"]
    assert pods["completions"] == pods["parallelism"]
    pod, box = pods["template"]["spec"], container(manifest)
    # Kubernetes takes a podFailurePolicy with this alone.
    assert pod["restartPolicy"] == "Never"
    codes = [r["onExitCodes"] for r in pods["podFailurePolicy"]["rules"] if "onExitCodes" in r]
    assert codes == [{"containerName": box["name"], "operator": "In", "values": [REQUEUE]}]
    (rule,) = spec["failurePolicy"]["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in box["volumeMounts"]}
    assert set(mounts) == volumes
    paths = [word.partition("=")[2] for word in box["args"] if "-dir=" in word]
    assert len(paths) == 2
    assert all(path.startswith(f"{mounts['data']}/") for path in paths)
    environment = {e["name"]: e.get("value") for e in box["env"]}
    if manifest.stem == "jobset_gpu":
        first = f"{content['metadata']['name']}-{job['name']}-0-0.{content['metadata']['name']}"
        assert environment["JAX_COORDINATOR_ADDRESS"].partition(":")[0] == first
        assert environment["JAX_NUM_PROCESSES"] == str(pods["completions"])
        assert "JAX_PROCESS_ID" in environment
    else:
        across = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
        chips = int(across[0]) * int(across[1])
        assert chips == pods["completions"] * box["resources"]["limits"]["google.com/tpu"]
    kind = manifest.stem.removeprefix("jobset_")
    assert box["image"].endswith(f":{kind}")
    assert (JOBS / f"Dockerfile.{kind}").is_file()


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda p: p.name)
def test_what_a_dockerfile_copies_and_installs_is_there(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    sources = [w for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for w in line.split()]
    assert all((ROOT / name).exists() for name in sources if name != "./")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extra,) = re.findall(r'"\.\[(\w+)\]"', text)
    assert extra in project["optional-dependencies"]
    # What building the package reads must be there when it is installed.
    before = text.partition("pip install")[0]
    assert {project["readme"], *project["license-files"], "pyproject.toml"} <= set(before.split())
    (python,) = re.findall(r"^FROM python:(\S+)-slim$", text, re.MULTILINE)
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"on Python {python};" in constraints
