"""Imported once by the process from which tracking processes are forked."""

from pipeline.trackers import import_boxmot

import_boxmot()
