"""What is imported where, read from Python's own account of the real commands.

Checked by name, as names do not depend on the machine: a library that nobody needs until later is
what makes a command slow to start.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer
from pipeline.machine import CpuShare
from pipeline.models import SAMPLE, pull
from pipeline.options import Options
from pipeline.process import StepProcess
from pipeline.request import StepRequest
from pipeline.runtime import LogProgress, Runtime

ROOT = Path(__file__).resolve().parents[1]

TRACKING = {"torch", "boxmot", "scipy"}
STEPS = {"cv2", "onnxruntime", "av", "scenedetect", "retinaface", "pandas"} | TRACKING
SERVER = {"prefect", "httpx", "redis", "websockets", "starlette"}
NEVER = {"torchvision", "matplotlib"}

STARTED = "started:"
_TELL_OF_CHILDREN = f"""
import sys

def tell(event, given):
    if event == "subprocess.Popen" and "pipeline.child" in given[1]:
        print({STARTED!r}, given[1][given[1].index("pipeline.child") + 1], file=sys.stderr)

sys.addaudithook(tell)
from flows.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The command, which tells among its imports when it starts the process of a step."""


def imports(account: str) -> set[str]:
    """Top-level packages in what `-X importtime` wrote to standard error."""
    rows = (line for line in account.splitlines() if line.startswith("import time:"))
    return {row.rsplit("|", 1)[1].strip().split(".")[0] for row in rows}


def account_of(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return done.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["backfill"], ["status"], ["stack"]], ids=str)
def test_help_imports_no_more_than_the_options(command: list[str]) -> None:
    found = imports(account_of("-m", "flows.cli", *command, "--help"))
    assert "pydantic" in found, "the options are what --help shows"
    assert (
        found & (STEPS | SERVER | NEVER | {"numpy", "pyarrow", "pydantic_settings", "rich"})
        == set()
    )


@pytest.fixture(scope="module")
def account_of_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Standard error of `facetracks run` on the packaged sample."""
    root = str(tmp_path_factory.mktemp("run"))
    command = ["run", str(pull(SAMPLE)), "--output-root", root, "--cpu-threads", "2"]
    return account_of("-c", _TELL_OF_CHILDREN, *command)


def test_run_starts_its_children_before_it_imports_what_takes_seconds(account_of_run: str) -> None:
    before, _, rest = account_of_run.partition(f"{STARTED} detect\n")
    between, _, after = rest.partition(f"{STARTED} track\n")
    assert "prefect" in imports(after), "both were started, and Prefect came later"
    assert imports(before) & (STEPS | SERVER | NEVER | {"numpy", "pyarrow"}) == set()
    assert imports(between) == set()


def test_run_leaves_the_work_to_its_children(account_of_run: str) -> None:
    assert imports(account_of_run) & (STEPS - {"pandas"} | NEVER) == set()


@pytest.fixture(scope="module")
def accounts_of_steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Standard error of the process of each step, on the packaged sample."""
    footer = Footer("sample", "0" * 64, "0" * 16)
    folder = EpisodeFolder(tmp_path_factory.mktemp("steps"), "sample")
    share = CpuShare(1, frozenset())
    accounts = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPROFILEIMPORTTIME", "1")
        for step, video in (("detect", str(pull(SAMPLE))), ("track", None)):
            request = StepRequest(video, folder, footer, Options(stride=30).resolve(), 1)
            process = StepProcess(step, share)
            process.run(request, Runtime(progress=LogProgress(), timeout_s=100))
            accounts[step] = process.words()
    return accounts


@pytest.mark.parametrize(
    ("step", "needs", "never"),
    [
        # Finding faces: no tracker, and nobody to talk to.
        ("detect", {"cv2", "onnxruntime", "av", "scenedetect", "pyarrow"}, TRACKING | {"rich"}),
        # Following them: no video, no network.
        ("track", {"torch", "boxmot", "pyarrow"}, {"av", "scenedetect", "retinaface"}),
    ],
)
def test_a_step_imports_what_it_works_with(
    accounts_of_steps: dict[str, str], step: str, needs: set[str], never: set[str]
) -> None:
    found = imports(accounts_of_steps[step])
    assert needs <= found
    assert found & (never | SERVER | NEVER) == set()


def test_what_the_nursery_imports_ahead_is_what_steps_need() -> None:
    found = imports(account_of("-c", "import pipeline.step_preload"))
    assert {"torch", "boxmot", "cv2", "av", "scenedetect", "pandas"} <= found
    assert found & (SERVER | NEVER) == set()
