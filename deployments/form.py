"""The form of a deployment's parameters, as the Prefect UI shows it and the server checks it.

Prefect makes a JSON schema of the flow's signature. It titles the fields with the names of the
parameters, keeps ranges to itself, and shows a field that may be None as a choice of types, with
None chosen. Here each field is plain, has the title its annotation gives, and tells its range and
its default.
"""

from __future__ import annotations

from typing import Any, get_type_hints

from prefect import Flow
from pydantic.fields import FieldInfo

from pipeline.options import defaults_by_profile


def form_schema(flow: Flow[..., Any]) -> dict[str, Any]:
    """The schema for the deployment."""
    schema = flow.parameters.model_dump()
    schema["additionalProperties"] = False
    titles = _titles(flow)
    for name, field in schema["properties"].items():
        field["title"] = titles.get(name, field["title"])
        schema["properties"][name] = _plain(field)
    for definition in schema["definitions"].values():
        for name, field in definition.get("properties", {}).items():
            definition["properties"][name] = _explained(name, _plain(field))
    return schema


def _titles(flow: Flow[..., Any]) -> dict[str, str]:
    return {
        name: note.title
        for name, hint in get_type_hints(flow.fn, include_extras=True).items()
        for note in getattr(hint, "__metadata__", ())
        if isinstance(note, FieldInfo) and note.title
    }


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """The field without the choice of None: leaving it empty means the same."""
    field = dict(field)
    if "description" in field:
        field["description"] = " ".join(field["description"].split())
    if isinstance(field.get("default"), dict):
        field["default"] = {k: v for k, v in field["default"].items() if v is not None}
    kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1 and "default" in field and field["default"] is None:
        del field["anyOf"], field["default"]
        field |= kinds[0]
    return field


def _explained(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """The field with its range and the profiles' defaults in its help text."""
    notes = []
    if "minimum" in field and "maximum" in field:
        notes.append(f"From {field['minimum']:g} to {field['maximum']:g}.")
    words = [field.get("description", ""), *notes, defaults_by_profile(name)]
    return {**field, "description": " ".join(filter(None, words))}
