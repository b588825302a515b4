"""facenet-pytorch's MTCNN over every frame, longer side 640; run by a Python that has it.

`python benchmarks/mtcnn_loop.py VIDEO`; detection alone, nothing is tracked.
"""

from __future__ import annotations

import sys

import cv2
from facenet_pytorch import MTCNN

LONGER_SIDE = 640


def main(video: str) -> int:
    """Returns the number of frames."""
    capture = cv2.VideoCapture(video)
    detector = MTCNN(keep_all=True, device="cpu")
    frames = 0
    while True:
        read, image = capture.read()
        if not read:
            break
        frames += 1
        height, width = image.shape[:2]
        scale = min(1.0, LONGER_SIDE / max(width, height))
        small = cv2.resize(image, (round(width * scale), round(height * scale)))
        detector.detect(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    print(frames, "frames")
    return frames


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1]) else 1)
