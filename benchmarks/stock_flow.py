"""The flow that the stock Prefect worker runs: no more than what has to be done before a frame.

Copied into a folder of its own, so that nothing of facetracks is imported with it.
"""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow


@flow
def first_frame(video: str, stamp: str) -> None:
    """Decodes the first frame of a video and writes the clock time to a file."""
    import cv2
    import onnxruntime  # noqa: F401

    read, _ = cv2.VideoCapture(video).read()
    assert read, video
    Path(stamp).write_text(repr(time.time()))
