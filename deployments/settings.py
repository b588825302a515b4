"""Settings of an installation, from the environment: names starting with `FACETRACKS_`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline.errors import OptionError
from pipeline.machine import available_cpus

PREFIX = "FACETRACKS_"


class Settings(BaseSettings):
    """What holds for all runs on this machine; options of a run win over it.

    Prefect's own names (`PREFECT_API_URL`, `PREFECT_API_AUTH_STRING`, ...) keep working beside.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    output_root: Path = Field(Path("output"), description="Folder of the episodes' output folders.")
    cpu_threads: int | None = Field(
        None, ge=1, le=1024, description="CPUs a run may keep busy, where it does not say."
    )
    max_cpu_threads: int | None = Field(
        None, ge=1, le=1024, description="CPUs a run may keep busy, whatever it asks for."
    )
    media_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="Folders that videos of queued runs must lie under, separated as in PATH.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis of queued mode and of its episode locks: redis://:password@host."
    )
    database_url: SecretStr | None = Field(
        None, description="Prefect's database: postgresql+asyncpg://...; default: SQLite."
    )
    home: Path = Field(
        default_factory=lambda: Path.home() / ".facetracks",
        description="State, logs and pid files of the local stack.",
    )
    host: str = Field(
        "127.0.0.1", description="Address the local stack's Prefect server and Redis listen on."
    )
    worker_limit: int = Field(
        1, ge=1, le=256, description="Runs that the local stack's worker works on at once."
    )

    @field_validator("media_roots", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value

    @field_validator("media_roots", "home")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(path.expanduser().absolute() for path in value)
        return value.expanduser().absolute()

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and urlsplit(value.get_secret_value()).scheme not in ("redis", "rediss"):
            raise ValueError("give redis://[:password@]host[:port][/number] or rediss://...")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        known = ("postgresql+asyncpg", "sqlite+aiosqlite")
        if value and urlsplit(value.get_secret_value()).scheme not in known:
            raise ValueError("give postgresql+asyncpg://user:password@host/name")
        return value

    def capped(self, cpu_threads: int | None) -> int | None:
        """What a run that wants so many CPUs (None: all it may use) gets of them."""
        if self.max_cpu_threads is None:
            return cpu_threads
        return min(cpu_threads or available_cpus(), self.max_cpu_threads)

    def share_of_each(self, runs: int) -> int:
        """CPUs that each of so many runs at once may keep busy, of those set, else of all."""
        cpus = self.capped(self.cpu_threads) or available_cpus()
        return max(1, cpus // runs)

    @classmethod
    def load(cls) -> Self:
        """The settings, or an `OptionError` that names the variable at fault."""
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = f"{PREFIX}{str(first['loc'][0]).upper()}"
            message = first["msg"].removeprefix("Value error, ")
            # The input is left out where it may hold a password.
            secret = name.endswith("_URL")
            what = name if secret else f"{name}={first['input']!r}"
            raise OptionError(f"{what}: {message}") from None


def without_password(url: str) -> str:
    """The URL as it may be shown: `redis://127.0.0.1:6379/0`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
