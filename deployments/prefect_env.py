"""Prefect's settings for queued mode, in one place: the local stack and the compose file say these.

Names are Prefect's and prefect-redis's environment variables; each value that is not Prefect's
default has its reason beside it.
"""

from __future__ import annotations

POOL = "detect-track"
QUEUES = {"interactive": 1, "backfill": 2}
"""Queues of the work pool by priority; 1 is served first."""

COORDINATORS = "coordinators"
"""Work pool of the runs that only wait for others: they must not take the place of these."""

FLOWS = ("detect-track", "backfill")

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
"""State types after which a run does nothing more."""

RUN_ID = "PREFECT__FLOW_RUN_ID"
WORKER_NAME = "PREFECT__WORKER_NAME"
"""What Prefect's worker tells the processes of a run."""

NO_HEARTBEAT = "No heartbeat"
QUEUED_AGAIN = "Crashed; queued again, once."
LEFT_BEHIND = "Left behind"
"""How the messages begin of states that are given to runs taken for dead."""

NO_REPORTS_HOME = {
    "DO_NOT_TRACK": "1",  # the SDK reports its use when imported
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}
"""Nothing phones home: for every process that imports Prefect."""

_SERVER = {
    "PREFECT_MESSAGING_BROKER": "deployments.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    # Events do not wait for company (up to 10 s otherwise): a cancel is an event.
    "PREFECT_REDIS_MESSAGING_PUBLISHER_BATCH_SIZE": "1",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}

_WORKER = {
    # A stock worker asks for work every 10 s; a question costs the server about 10 ms of CPU.
    "PREFECT_WORKER_QUERY_SECONDS": "0.5",
    # Runs whose worker or machine is gone are found by their missing heartbeat.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # Our log lines, a few a minute, go to the run's page.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "facetracks",
}

RUN = {
    # A server that restarts, or has lost its Redis and answers 500 until that is back, must not
    # fail a run that ends just then: six tries take two minutes. For the runs alone: a worker
    # that waited so long between its questions would take up new work late.
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
}
"""For the processes of a run, beside the worker's."""


def server_environment(redis_url: str, database_url: str | None) -> dict[str, str]:
    """For the Prefect server and its background services."""
    database = {}
    if database_url is not None:
        database["PREFECT_API_DATABASE_CONNECTION_URL"] = database_url
    return {
        **NO_REPORTS_HOME,
        **_SERVER,
        "PREFECT_REDIS_MESSAGING_URL": redis_url,
        "PREFECT_SERVER_DOCKET_URL": redis_url,
        **database,
    }


def worker_environment(api_url: str, redis_url: str) -> dict[str, str]:
    """For workers, and so for the runs they start."""
    return {
        **NO_REPORTS_HOME,
        **_WORKER,
        "PREFECT_API_URL": api_url,
        "FACETRACKS_REDIS_URL": redis_url,
    }
