"""The few calls of Prefect's REST API that the command line and the run guard need.

Over httpx, not Prefect's own client: that takes seconds to import, and these programs answer at
once. https://docs.prefect.io/v3/api-ref/rest-api lists the calls.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any, Self

import httpx

from deployments.prefect_env import FINAL, FLOWS
from pipeline.errors import OptionError, ServerError

DEPLOYMENT = "detect-track/queued"
BACKFILL = "backfill/queued"

_BUSY = {429, 502, 503}
"""A server whose database is locked for a moment (SQLite) answers so, and has done nothing."""

_BUSY_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)


class Api:
    """Prefect's server. A context manager that keeps its connection.

    Making one raises `OptionError` where the address is none; every call raises `ServerError`
    where the server is not there or refuses.
    """

    def __init__(self, url: str, timeout_s: float = 15.0) -> None:
        self.url = url.rstrip("/")
        try:
            host = httpx.URL(self.url).host
        except httpx.InvalidURL as error:
            raise OptionError(
                f"PREFECT_API_URL={url!r} is no URL ({error}): give one like "
                "http://127.0.0.1:4200/api"
            ) from None
        auth = os.environ.get("PREFECT_API_AUTH_STRING") or os.environ.get(
            "PREFECT_SERVER_API_AUTH_STRING"
        )
        self._client = httpx.Client(
            base_url=self.url,
            timeout=timeout_s,
            auth=tuple(auth.split(":", 1)) if auth and ":" in auth else None,  # type: ignore[arg-type]
            trust_env=not is_loopback(host),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; None for 404."""
        for wait_s in (*_BUSY_WAITS_S, None):
            try:
                reply = self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                raise ServerError(
                    f"the Prefect server at {self.url} cannot be reached "
                    f"({type(error).__name__}): start it with `facetracks stack up`, "
                    "or set PREFECT_API_URL"
                ) from None
            if reply.status_code not in _BUSY or wait_s is None:
                break
            time.sleep(wait_s)
        if reply.status_code == 404:
            return None
        if reply.status_code in (401, 403):
            raise ServerError(
                f"the Prefect server at {self.url} asks for a password: "
                "set PREFECT_API_AUTH_STRING to user:password"
            )
        if reply.is_error:
            raise ServerError(
                f"the Prefect server at {self.url} refused ({reply.status_code}): {_said(reply)}",
                wrong_input=reply.status_code in (409, 422),
            )
        return reply.json() if reply.content else None

    def healthy(self) -> bool:
        try:
            return bool(self.call("GET", "/health"))
        except ServerError:
            return False

    # Runs

    def deployment(self, name: str = DEPLOYMENT) -> dict[str, Any]:
        """The deployment that queued runs belong to."""
        found = self.call("GET", f"/deployments/name/{name}")
        if found is None:
            raise ServerError(
                f"the Prefect server at {self.url} has no deployment '{name}': "
                "run `facetracks stack up`, or `prefect deploy --all`"
            )
        return dict(found)

    def create_run(self, deployment_id: str, **body: Any) -> dict[str, Any]:
        """Queues a run: `parameters`, `name`, `tags`, ..."""
        body.setdefault("idempotency_key", uuid.uuid4().hex)  # Asking twice makes one run.
        return dict(self.call("POST", f"/deployments/{deployment_id}/create_flow_run", body))

    def run(self, run_id: str) -> dict[str, Any] | None:
        """A flow run, or None where there is none of that id."""
        found = self.call("GET", f"/flow_runs/{run_id}")
        return None if found is None else dict(found)

    def unfinished_runs(self, deployment_id: str) -> list[dict[str, Any]]:
        """All runs of the deployment that are not in a final state."""
        runs: list[dict[str, Any]] = []
        while True:
            page = self.call(
                "POST",
                "/flow_runs/filter",
                {
                    "deployments": {"id": {"any_": [deployment_id]}},
                    "flow_runs": {"state": {"type": {"not_any_": sorted(FINAL)}}},
                    "limit": 200,
                    "offset": len(runs),
                },
            )
            runs += page
            if len(page) < 200:
                return runs

    def runs(self, ids: list[str]) -> list[dict[str, Any]]:
        """The flow runs of these ids, 200 at most, in any order."""
        body = {"flow_runs": {"id": {"any_": ids}}}
        return list(self.call("POST", "/flow_runs/filter", body)) if ids else []

    def latest_run(self, tag: str) -> dict[str, Any] | None:
        """The run with that tag that was made last."""
        body = {"flow_runs": {"tags": {"all_": [tag]}}, "sort": "EXPECTED_START_TIME_DESC"}
        found = self.call("POST", "/flow_runs/filter", {**body, "limit": 1})
        return dict(found[0]) if found else None

    def cancel_all(self, ids: list[str], message: str) -> None:
        """Asks for the end of these runs, 50 at most."""
        state = {"type": "CANCELLING", "name": "Cancelling", "message": message}
        if ids:
            body = {"flow_runs": {"id": {"any_": ids}}, "state": state}
            self.call("POST", "/flow_runs/bulk_set_state", body)

    def runs_in(self, state_type: str) -> list[dict[str, Any]]:
        """Runs of our flows in states of that type; the first 200."""
        body = {
            "flows": {"name": {"any_": list(FLOWS)}},
            "flow_runs": {"state": {"type": {"any_": [state_type]}}},
        }
        return list(self.call("POST", "/flow_runs/filter", body))

    def set_state(self, run_id: str, kind: str, name: str, message: str, force: bool) -> str:
        """Asks for a state; returns how that went: ACCEPT, REJECT, ABORT or WAIT."""
        body = {"state": {"type": kind, "name": name, "message": message}, "force": force}
        reply = self.call("POST", f"/flow_runs/{run_id}/set_state", body)
        return "ABORT" if reply is None else str(reply["status"])

    def artifacts(self, run_id: str, kind: str) -> list[dict[str, Any]]:
        """The artifacts of that type, newest first."""
        body = {
            "flow_runs": {"id": {"any_": [run_id]}},
            "artifacts": {"type": {"any_": [kind]}},
            "sort": "UPDATED_DESC",
        }
        return list(self.call("POST", "/artifacts/filter", body))

    def online_workers(self, pool: str) -> list[str]:
        """Names of the pool's workers that were heard of lately."""
        found = self.call("POST", f"/work_pools/{pool}/workers/filter", {}) or []
        return [worker["name"] for worker in found if worker["status"] == "ONLINE"]


def taken_by(run: dict[str, Any]) -> str | None:
    """The name of the worker that took the run last, as Prefect's workers label it."""
    name = (run.get("labels") or {}).get("prefect.worker.name")
    return None if name is None else str(name)


def _said(reply: httpx.Response) -> str:
    try:
        detail = reply.json().get("detail") or reply.json()
    except ValueError:
        return reply.reason_phrase
    return " ".join(str(detail).split())[:300]


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant."""
    return host in ("localhost", "::1") or host.startswith("127.")
