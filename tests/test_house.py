"""Rules of the house that a reader relies on, checked on the code itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic import ValidationError

from deployments.api import BACKFILL, DEPLOYMENT
from deployments.prefect_env import COORDINATORS, FLOWS, POOL
from pipeline.errors import OptionError
from pipeline.options import Options, Profile

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "pipeline": {"pipeline"},
    "deployments": {"deployments", "pipeline"},
    "tasks": {"tasks", "pipeline"},
    "flows": {"flows", "tasks", "pipeline", "deployments"},
}
OURS = set(MAY_IMPORT)


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).glob("*.py"))


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down_only(package: str) -> None:
    for path in _modules(package):
        tops = {name.split(".")[0] for name in _imports(path)}
        assert tops & OURS <= MAY_IMPORT[package], path
        if package == "pipeline":
            assert not tops & {"prefect", "redis", "argparse", "rich"}, path


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_module_is_longer_than_a_sitting(package: str) -> None:
    for path in _modules(package):
        assert len(path.read_text().splitlines()) <= 310, path


def test_prefect_yaml_names_flows_that_are_there() -> None:
    config = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools, parameters = {}, {}
    for deployment in config["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
        name = f"{flow.name}/{deployment['name']}"
        pools[name] = deployment["work_pool"]["name"]
        parameters[name] = set(flow.parameters.properties)
        assert flow.name in FLOWS, "what the automations and workers look after"
    assert pools == {DEPLOYMENT: POOL, BACKFILL: COORDINATORS}
    assert {"video", "ep_id", "options"} <= parameters[DEPLOYMENT]
    assert {"source", "options", "retry_failed"} <= parameters[BACKFILL]


def test_every_option_can_explain_itself() -> None:
    for name, field in Options.model_fields.items():
        assert field.title and field.description, name


@pytest.mark.parametrize("profile", Profile)
def test_an_explicit_option_wins_over_the_profile(profile: Profile) -> None:
    resolved = Options.parse({"profile": profile, "stride": 7}).resolve()
    assert (resolved.stride, resolved.looks_per_s) == (7, None)
    resolved = Options.parse({"profile": profile, "looks_per_s": 4}).resolve()
    assert (resolved.stride, resolved.looks_per_s) == (None, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stride": 0}, {"stride": 1.5}, {"det_size": 3}, {"min_score": 1.1}, {"min_face": -1},
        {"tracker": "sort"}, {"profile": "fast"}, {"device": "tpu"}, {"cpu_threads": 0},
        {"max_gap_s": float("nan")}, {"strid": 1}, {"looks_per_s": 0},
        {"looks_per_s": 3, "stride": 8},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_option_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Options.parse(wrong)


def test_options_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Options().stride = 3  # type: ignore[misc]
