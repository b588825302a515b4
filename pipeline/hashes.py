"""The hashes in the footers: of all that decides the rows, and of nothing else.

Networks enter by the sha256 of their weights, not by name.
"""

from __future__ import annotations

from pipeline.model_table import Embedder
from pipeline.models import sha256_of
from pipeline.options import ResolvedOptions, options_hash


def detect_hash(options: ResolvedOptions) -> str:
    """Of what decides the detections, and the embeddings beside them.

    The default embedder does not count: its embeddings lie beside the same detections that a run
    without embeddings leaves. Another's do, so that no embeddings pass for those of another.

    Raises:
        ModelError: a network's sha256 is nowhere stated.
    """
    networks = options.networks()
    parts = [sha256_of(networks["detector"])]
    if "embedder" in networks and options.embedder is not Embedder.sface:
        parts.append(sha256_of(networks["embedder"]))
    return options_hash(options.detect_options(), *parts)


def track_hash(options: ResolvedOptions, detect_hash: str, embedder_sha256: str) -> str:
    """Of what decides the tracks.

    Args:
        embedder_sha256: of the embedder whose vectors the tracker compares; empty for none.
    """
    return options_hash(options.track_options(), detect_hash, embedder_sha256)
