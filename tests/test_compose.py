"""The compose file and the Dockerfile: valid, and of one mind with the settings in Python."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.prefect_env import NO_REPORTS_HOME, server_environment, worker_environment

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "deployments" / "compose.yaml"
DOCKERFILE = ROOT / "deployments" / "Dockerfile"

GIVEN = {
    "POSTGRES_PASSWORD": "pg-secret",
    "REDIS_PASSWORD": "redis-secret",
    "PREFECT_API_AUTH_STRING": "admin:api-secret",
    "FACETRACKS_MEDIA": "/mnt/media",
    "FACETRACKS_OUTPUT": "/mnt/output",
}
"""What a person has to say; everything else has a default."""

REDIS_URL = "redis://:redis-secret@redis:6379/0"
DATABASE_URL = "postgresql+asyncpg://prefect:pg-secret@postgres:5432/prefect"
API_URL = "http://server:4200/api"
AUTH = "admin:api-secret"

SERVER = server_environment(REDIS_URL, DATABASE_URL)
ENVIRONMENTS = {
    "migrate": SERVER,
    "server": SERVER
    | {
        "PREFECT_SERVER_API_AUTH_STRING": AUTH,
        "PREFECT_SERVER_API_HOST": "0.0.0.0",
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": "/home/facetracks/ui",
        "PREFECT_UI_API_URL": "/api",
    },
    "services": SERVER | {"PREFECT_SERVER_API_AUTH_STRING": AUTH},
    "register": NO_REPORTS_HOME | {"PREFECT_API_URL": API_URL, "PREFECT_API_AUTH_STRING": AUTH},
    "worker": worker_environment(API_URL, REDIS_URL)
    | {
        "PREFECT_API_AUTH_STRING": AUTH,
        "FACETRACKS_MEDIA_ROOTS": "/mnt/media",
        "FACETRACKS_OUTPUT_ROOT": "/mnt/output",
        "FACETRACKS_WORKER_LIMIT": "1",
        "FACETRACKS_CPU_THREADS": "",
        "FACETRACKS_MAX_CPU_THREADS": "",
    },
}
"""Prefect's settings as Python has them, and the few that only containers need."""

ONE_SHOT = {"migrate", "register"}

VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\}|\$")
"""The forms of interpolation that the file uses; any other `$` is found as itself."""


def interpolate(value: Any, given: dict[str, str]) -> Any:
    """As compose does: `$$`, `${NAME:-default}`, `${NAME:?message}`."""
    if isinstance(value, dict):
        return {key: interpolate(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, given) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, kind, rest = match["name"], match["kind"], match["rest"]
        assert kind, f"{match[0]} in {value!r}: say :-default or :?message"
        if given.get(name):
            return given[name]
        if kind == ":?":
            raise KeyError(f"{name}: {rest}")
        return str(rest)

    return VARIABLE.sub(replace, value)


@pytest.fixture(scope="module")
def raw() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture(scope="module")
def services(raw: dict[str, Any]) -> dict[str, Any]:
    """The services as compose sees them where only what is required was given."""
    return dict(interpolate(raw, GIVEN)["services"])


# check-jsonschema carries the schema of the Compose specification as its authors publish it;
# podman-compose does not even parse a file on a machine without podman.
def test_it_follows_the_compose_specification(raw: dict[str, Any], tmp_path: Path) -> None:
    filled = tmp_path / "compose.yaml"
    filled.write_text(yaml.safe_dump(interpolate(raw, GIVEN)))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, COMPOSE, filled], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", ENVIRONMENTS)
def test_settings_are_those_of_prefect_env(services: dict[str, Any], service: str) -> None:
    assert services[service]["environment"] == ENVIRONMENTS[service]


def test_every_service_of_ours_is_compared(services: dict[str, Any]) -> None:
    ours = {name for name, service in services.items() if "build" in service}
    assert ours == set(ENVIRONMENTS)


@pytest.mark.parametrize("name", GIVEN)
def test_what_has_no_sensible_default_is_asked_for(raw: dict[str, Any], name: str) -> None:
    others = {key: value for key, value in GIVEN.items() if key != name}
    with pytest.raises(KeyError, match=name):
        interpolate(raw, others)


def test_no_secret_is_written_down(raw: dict[str, Any], services: dict[str, Any]) -> None:
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == GIVEN["POSTGRES_PASSWORD"]
    config = interpolate(raw, GIVEN)["configs"]["redis"]["content"]
    assert f"requirepass {GIVEN['REDIS_PASSWORD']}\n" in config
    for match in VARIABLE.finditer(COMPOSE.read_text()):
        if re.search(r"PASSWORD|AUTH|SECRET|TOKEN|KEY", match["name"] or ""):
            assert match["kind"] == ":?", match[0]
    for url in re.findall(r"\w+://\S*@", COMPOSE.read_text()):
        assert re.fullmatch(r"[\w+]+://\w*:\$\{\w+:\?.*\}@.*", url) or "$" not in url, url


def test_services_that_stay_have_a_health_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert ("healthcheck" in service) == (name not in ONE_SHOT), name
        assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped"), name
        if name not in ONE_SHOT:
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_health_checks_in_python_compile(services: dict[str, Any]) -> None:
    tests = [service["healthcheck"]["test"] for service in services.values() if "build" in service
             and "healthcheck" in service]  # fmt: skip
    assert len(tests) == 3
    for test in tests:
        compile(test[-1], "health check", "exec")


def test_each_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how == {"condition": wanted}, (name, other)
    assert set(services["worker"]["depends_on"]) == {"redis", "register", "server", "services"}
    assert services["worker"]["stop_grace_period"] == "20s"


def test_ports_are_open_to_this_machine_only(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"redis", "server"}
    for name, ports in published.items():
        for port in ports:
            host = port.rsplit(":", 2)[0] if port.count(":") >= 2 else "0.0.0.0"
            assert ipaddress.ip_address(host).is_loopback, (name, port)
    for name, service in services.items():
        assert service.get("network_mode") is None, name


def test_images_are_pinned(services: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    for image in [service["image"] for service in services.values()] + bases:
        _, _, tag = image.partition(":")
        assert re.match(r"\d+\.\d+(\.\d+)?(-|$)", tag), image
        if image.startswith("facetracks:"):
            assert tag == version


def test_media_are_read_only_and_where_the_settings_say(services: dict[str, Any]) -> None:
    worker = services["worker"]
    mounts = {mount["target"]: mount for mount in worker["volumes"]}
    media = mounts.pop(worker["environment"]["FACETRACKS_MEDIA_ROOTS"])
    output = mounts.pop(worker["environment"]["FACETRACKS_OUTPUT_ROOT"])
    assert not mounts
    assert media["read_only"] is True and "read_only" not in output
    for mount in (media, output):
        assert mount["source"] == mount["target"], "a video has one path for all"
        assert mount["bind"] == {"create_host_path": False}


def _copied() -> list[str]:
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_gets_what_the_project_has() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("*", 1)[1].split()
    assert {line.removeprefix("!") for line in ignored if line[0] == "!"} == set(_copied())
    hidden = [line for line in ignored if line[0] != "!"]
    for source in _copied():
        assert (ROOT / source).exists(), source
        assert not any(fnmatch.fnmatch(source, pattern) for pattern in hidden), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]) <= set(_copied())
    assert "deployments/.env" in hidden, "compose reads secrets from there"


def test_the_image_does_not_run_as_root() -> None:
    (user,) = re.findall(r"^USER (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert not user.startswith(("0", "root"))


def test_the_image_has_what_setup_installs() -> None:
    (libraries,) = re.findall(r"^LIBRARIES := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f" {libraries} " in DOCKERFILE.read_text()
