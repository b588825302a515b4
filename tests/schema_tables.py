"""Prints the README's tables of columns from the schemas: `python -m tests.schema_tables`."""

from __future__ import annotations

from pipeline import tables


def main() -> None:
    """Markdown, one section a file."""
    for name in ("detections", "tracks", "track_summary", "frames", "embeddings"):
        schema = getattr(tables, name.upper())
        print(f"### `{name}.parquet`\n")
        print("| column | type | what |\n| --- | --- | --- |")
        for field in schema:
            what = (field.metadata or {})[b"description"].decode()
            print(f"| `{field.name}` | {tables.plain_type(field)} | {what} |")
        print()


if __name__ == "__main__":
    main()
