"""The loop a person writes first: read, resize, the `retinaface` package, boxmot's ByteTrack.

`python -m benchmarks.plain_loop VIDEO`; every frame, longer side 640, defaults of all libraries.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from boxmot import ByteTrack
from retinaface import detect_faces

LONGER_SIDE = 640


def main(video: str) -> int:
    """Returns the number of frames."""
    capture = cv2.VideoCapture(video)
    tracker = ByteTrack()
    frames = rows = 0
    while True:
        read, image = capture.read()
        if not read:
            break
        frames += 1
        height, width = image.shape[:2]
        scale = min(1.0, LONGER_SIDE / max(width, height))
        small = cv2.resize(image, (round(width * scale), round(height * scale)))
        faces = detect_faces(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), score_threshold=0.2)
        boxes = np.array([[f.x, f.y, f.x + f.width, f.y + f.height] for f in faces], np.float32)
        rest = np.array([[min(f.score, 1.0), 0] for f in faces], np.float32)
        found = np.hstack([boxes.reshape(-1, 4) / scale, rest.reshape(-1, 2)])
        rows += len(tracker.update(found, image))
    print(frames, "frames", rows, "rows")
    return frames


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1]) else 1)
