"""The Celery application and its one task, which starts a process that decodes a frame.

`python -m celery --app benchmarks.celery_task worker`, with CELERY_BROKER_URL.
"""

from __future__ import annotations

import subprocess
import sys

from celery import Celery

FIRST_FRAME = """
import sys, time
import cv2, onnxruntime
read, _ = cv2.VideoCapture(sys.argv[1]).read()
assert read, sys.argv[1]
open(sys.argv[2], "w").write(repr(time.time()))
"""
"""The program: what `stock_flow.first_frame` does, as a process of its own."""

app = Celery("facetracks-benchmarks")


def first_frame(video: str, stamp: str) -> None:
    """Returns when the process has ended."""
    subprocess.run([sys.executable, "-c", FIRST_FRAME, video, stamp], check=True)


first_frame_task = app.task(name="first_frame", ignore_result=True)(first_frame)
