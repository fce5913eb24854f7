"""Rows of the tables that change their columns: as they are first, and as they are in the end."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from model import Row

COLUMNS = (
    "id BIGINT NOT NULL, genre STRING, votes INT, rating FLOAT, gross DECIMAL(9, 2), released DATE, "
    "studio STRUCT<name: STRING, founded: INT>, actors ARRAY<STRING>, slogan STRING"
)
# The same for the model.
NAMES = (
    "id", "genre", "votes", "rating", "gross", "released",
    "studio", "studio.name", "studio.founded", "actors", "slogan",
)  # fmt: skip

# Values that a column takes after it has become wider, and not before.
VOTES = 5_000_000_000
WIDE = {"votes": VOTES, "rating": 0.1, "gross": Decimal("1234567890.25")}


def film(id: int, genre: str | None, released: date | None, **more: Any) -> Row:
    row: Row = {
        "id": id,
        "genre": genre,
        "votes": 10 * id,
        "rating": id / 4,
        "gross": Decimal(id * 125).scaleb(-2),
        "released": released,
        "studio": {"name": f"studio {id}", "founded": 1900 + id},
        "actors": [f"actor {id}", None],
        "slogan": f"slogan {id}",
    }
    return {**row, **more}


def late_film(id: int, kind: str | None, released: date | None, **more: Any) -> Row:
    """With `genre` as `kind`, and `founded` as `since`."""
    row = film(id, kind, released, note=f"note {id}", slogan=id)
    row["kind"] = row.pop("genre")
    row["studio"] = {"name": f"studio {id}", "since": VOTES + id, "country": "fr"}
    return {**row, **more}


def change(id: int, kind: str | None, votes: int, released: date | None) -> Row:
    """What a flow of changes brings."""
    return {"id": id, "kind": kind, "votes": votes, "released": released}


def without(row: Row, *columns: str) -> Row:
    return {name: cell for name, cell in row.items() if name not in columns}


def year(row: Row) -> int | None:
    return row["released"] and row["released"].year
