"""The work itself, in the order the data flows: video -> detections -> tracks.

Knows no Prefect, no Redis and no command line.
"""
