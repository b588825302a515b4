"""Runs a flow's body in this process: no API, no server, no run id.

Prefect finds the task runner for `task.submit` in the current `FlowRunContext`. Here that context
holds nothing but a task runner of ours, which calls the task's plain function in a thread; none
of Prefect's engine, which would ask an API for a run, takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner


class LocalFuture(PrefectFuture[Any]):
    """The outcome of a task in a thread of this process. It has no task run and no id."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def wait(self, timeout: float | None = None) -> None:
        with suppress(Exception):
            self._future.exception(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        try:
            return self._future.result(timeout)
        except Exception as error:
            if raise_on_failure:
                raise
            return error

    def add_done_callback(self, fn: Callable[[PrefectFuture[Any]], None]) -> None:
        self._future.add_done_callback(lambda _: fn(self))


class LocalTaskRunner(TaskRunner[LocalFuture]):
    """Calls the plain function of each submitted task in a thread."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pool = ThreadPoolExecutor(thread_name_prefix="task")

    def duplicate(self) -> LocalTaskRunner:
        return LocalTaskRunner()

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[Any]] | None = None,  # noqa: ARG002  (Prefect's signature)
    ) -> LocalFuture:
        def call() -> Any:
            for upstream in wait_for or ():
                upstream.result()
            return task.fn(**{k: _resolved(v) for k, v in parameters.items()})

        return LocalFuture(self._pool.submit(copy_context().run, call))

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)
        super().__exit__(*error)


def _resolved(value: Any) -> Any:
    """The value, with the results of futures in their place."""
    if isinstance(value, PrefectFuture):
        return value.result()
    if isinstance(value, list | tuple):
        return type(value)(_resolved(item) for item in value)
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    return value


def call_flow_body(body: Callable[[], Any], on_interrupt: Callable[[], None]) -> Any:
    """Calls a flow's plain function such that `task.submit` and `task.map` work inside it.

    Args:
        body: the flow's `fn`, with its parameters bound.
        on_interrupt: makes running tasks end; called where the caller is interrupted, as by
            Ctrl-C, and not for an error.
    """
    runner = LocalTaskRunner()
    with runner, FlowRunContext.model_construct(task_runner=runner):  # type: ignore[call-arg]
        try:
            return body()
        except Exception:
            raise
        except BaseException:
            on_interrupt()
            raise
