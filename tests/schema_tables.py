"""Prints the README's tables of columns from the schemas: `python -m tests.schema_tables`."""

from __future__ import annotations

from flows import backfill_report
from pipeline import tables


def main() -> None:
    """Markdown, one section a file."""
    names = ("detections", "tracks", "track_summary", "frames", "embeddings")
    schemas = {name: getattr(tables, name.upper()) for name in names}
    for name, schema in [*schemas.items(), ("backfill-NAME", backfill_report.schema())]:
        print(f"### `{name}.parquet`\n")
        print("| column | type | what |\n| --- | --- | --- |")
        for field in schema:
            what = (field.metadata or {})[b"description"].decode()
            print(f"| `{field.name}` | {tables.plain_type(field)} | {what} |")
        print()


if __name__ == "__main__":
    main()
