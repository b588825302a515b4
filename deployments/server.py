"""Prefect's server on SQLite, whose transactions wait for each other instead of failing.

Prefect begins a transaction that will write as a reader (`BEGIN DEFERRED`). Where another writes
before it does, SQLite refuses at once, whatever time it was told to wait, and the server answers
503: a button of the page that is pressed in vain, now and then. Begun as a writer
(`BEGIN IMMEDIATE`), it waits for its turn. https://www.sqlite.org/lang_transaction.html

`python -m deployments.server` takes the place of `prefect server start`; with Postgres it is the
same.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager

from prefect.cli import app
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

_begin = AioSqliteConfiguration.begin_transaction


def _begin_as_writer(
    configuration: AioSqliteConfiguration,
    session: AsyncSession,
    with_for_update: bool = False,  # noqa: ARG001  (Prefect's signature)
) -> AbstractAsyncContextManager[AsyncSessionTransaction]:
    return _begin(configuration, session, with_for_update=True)


def main() -> None:
    """Serves until told to stop."""
    AioSqliteConfiguration.begin_transaction = _begin_as_writer  # type: ignore[method-assign, assignment]
    sys.argv[1:] = ["server", "start"]
    app()


if __name__ == "__main__":
    main()
