"""What takes the steps seconds to import: imported once, before processes are forked."""

import av
import cv2
import scenedetect

from pipeline import tables
from pipeline.trackers import import_boxmot

assert av and cv2 and scenedetect, "importing them is what takes the time"
tables.warm()
import_boxmot()
