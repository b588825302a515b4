"""Builds a wheel of this tree and runs it in an environment that has nothing else.

`python -m tests.wheel_check`; a part of `make test` that takes minutes, as torch is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from pipeline import models

ROOT = Path(__file__).resolve().parents[1]


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"wheel check: {command[0]} {command[1]} ended with {done.returncode}")
    return done.stdout


def main() -> None:
    """Ends with a non-zero exit code where the wheel does not do its work."""
    sample = models.pull(models.SAMPLE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
        (wheel,) = folder.glob("*.whl")
        venv.create(folder / "env", with_pip=True)
        python = folder / "env" / "bin" / "python"
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(python, *pip, wheel, "--constraint", ROOT / "requirements.lock", cwd=folder)
        command = folder / "env" / "bin" / "facetracks"
        for mode in ("run", "track"):
            what = sample if mode == "run" else sample.stem
            answer = json.loads(_run(command, mode, what, "--json", "--force", cwd=folder))
            assert answer["status"] == "completed", answer
            assert answer["summary"]["tracks"] == 1, answer
        assert "sface" in _run(command, "models", "list", cwd=folder)
    print(f"wheel check: {wheel.name} runs in an environment of its own")


if __name__ == "__main__":
    main()
