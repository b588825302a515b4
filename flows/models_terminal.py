"""`facetracks models` on a terminal."""

from __future__ import annotations

import json
from typing import Any

from pipeline import models
from pipeline.errors import ModelError
from pipeline.model_table import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, MODELS, Asset


def list_all(*, as_json: bool) -> int:
    """Prints every network: licence, size, where it comes from, whether it is here."""
    listed = [_described(asset) for asset in MODELS.values()]
    if as_json:
        print(json.dumps({"models": listed}))
        return 0
    for row in listed:
        size = f"{row['size_bytes'] / 1e6:.1f} MB" if row["size_bytes"] else "size depends"
        print(f"{row['name']}{' (default)' if row['default'] else ''}")
        print(f"  {row['what']}; {size}")
        print(f"  licence {row['licence']}")
        print(f"  from {', else '.join(row['sources'])}")
        print(f"  sha256 {row['sha256'] or 'stated by you when you pull it'}")
        print("  here" if row["here"] else f"  not here; {MODELS[row['name']].remedy}")
    return 0


def _described(asset: Asset) -> dict[str, Any]:
    sources = [str(source) for source in asset.sources]
    if asset.installed:
        sources = [str(asset.installed)]
    elif not sources:
        sources = [f"a file of yours (see {asset.page})"]
    try:
        sha256 = models.sha256_of(asset)
    except ModelError:
        sha256 = None
    return {
        "name": asset.name,
        "what": asset.what,
        "default": asset.name in (DEFAULT_DETECTOR, DEFAULT_EMBEDDER),
        "licence": asset.licence,
        "commercial_use": asset.commercial,
        "size_bytes": asset.size,
        "sources": sources,
        "sha256": sha256,
        "here": models.present(asset),
    }


def pull(name: str, source: str | None, sha256: str | None, *, as_json: bool) -> int:
    """Gets a file and prints its path.

    Raises:
        ModelError: it cannot be had, or is not the one it should be.
    """
    asset, check = MODELS[name], None
    if asset.sha256 is None:
        from pipeline.retinaface import check_export

        check = check_export
    path = models.pull(asset, source, sha256, check)
    print(json.dumps({"path": str(path)}) if as_json else path)
    return 0


def verify(name: str | None, *, as_json: bool) -> int:
    """Checks the files that are here, or the one that is named; returns 1 where one is wrong."""
    wanted = [MODELS[name]] if name else [a for a in MODELS.values() if models.present(a)]
    faults = {asset.name: _fault(asset) for asset in wanted}
    if as_json:
        rows = [
            {"name": name, "right": not fault, "error": fault} for name, fault in faults.items()
        ]
        print(json.dumps({"models": rows}))
    else:
        for asset_name, fault in faults.items():
            print(f"{asset_name}: {fault or 'right'}")
    return 1 if any(faults.values()) else 0


def _fault(asset: Asset) -> str | None:
    """What is wrong with the file, and the command that mends it."""
    try:
        models.locate(asset)
    except ModelError as error:
        return str(error)
    return None
