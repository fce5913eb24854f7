"""What the movies project must come to, computed from its source files by nothing but Python.

This is the second opinion that berglake's tables are compared with, so it shares no code and no
query with them: it reads the same files and follows the rules in the README of the example.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "movies"
MOVIES = EXAMPLE / "data" / "movies.json"
CORRECTIONS = EXAMPLE / "data" / "updates" / "movies_corrections.json"

TABLES = (
    "bronze.movies_raw",
    "silver.movies_clean",
    "gold.movies_by_year_genre",
    "gold.top_movies",
)

# Records without a time of change count as of this moment.
UNDATED = datetime(2010, 12, 31, tzinfo=timezone.utc)
LAST_YEAR_OF_SOURCE = 2011

Key = tuple[str, date]
Row = dict[str, Any]

# Which films the corrections change, written by hand from the table in examples/movies/data/README.md.
CHANGED_KEYS: frozenset[Key] = frozenset(
    {
        ("Inception", date(2010, 7, 16)),
        ("The Land Girls", date(1998, 6, 12)),
        ("Gone with the Wind", date(1939, 12, 15)),
        ("300", date(2007, 3, 9)),
        ("Avatar", date(2009, 12, 18)),
        ("Iron Man 2", date(2010, 5, 7)),
        ("True Grit", date(2010, 12, 22)),
    }
)
NEW_KEYS: frozenset[Key] = frozenset({("True Grit", date(2010, 12, 22))})


@dataclasses.dataclass(frozen=True)
class Delivery:
    """The records of one source file, and how many of its lines cannot be read."""

    records: list[Row]
    dead_letters: int


def read(path: Path) -> Delivery:
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return Delivery(json.loads(text), 0)
    records, dead = [], 0
    for line in text.splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            dead += 1
    return Delivery(records, dead)


def bronze(deliveries: Iterable[Delivery]) -> list[Row]:
    """The records under their own names; a title that is a number becomes its digits."""
    rows = []
    for delivery in deliveries:
        for record in delivery.records:
            row = {"updated_at": None, **record}
            if isinstance(row["Title"], int):
                row["Title"] = str(row["Title"])
            row["updated_at"] = moment(row["updated_at"])
            rows.append(row)
    return rows


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def trimmed(text: str | None) -> str | None:
    return None if text is None else text.strip()


def clean(raw: Row) -> Row:
    released = datetime.strptime(raw["Release Date"].strip(), "%b %d %Y").date()
    if released.year > LAST_YEAR_OF_SOURCE:
        released = released.replace(year=released.year - 100)
    return {
        "title": trimmed(raw["Title"]),
        "release_date": released,
        "genre": trimmed(raw["Major Genre"]),
        "mpaa_rating": raw["MPAA Rating"],
        "running_time_min": raw["Running Time min"],
        "distributor": trimmed(raw["Distributor"]),
        "director": trimmed(raw["Director"]),
        "source": raw["Source"],
        "creative_type": raw["Creative Type"],
        "budget": raw["Production Budget"],
        "us_revenue": raw["US Gross"],
        "revenue": raw["Worldwide Gross"],
        "us_dvd_sales": raw["US DVD Sales"],
        "rating": raw["IMDB Rating"],
        "votes": raw["IMDB Votes"],
        "tomatometer": raw["Rotten Tomatoes Rating"],
        "updated_at": raw["updated_at"] or UNDATED,
    }


def silver(deliveries: Iterable[Delivery]) -> dict[Key, Row]:
    """The newest record of each key; among equals the later one."""
    films: dict[Key, Row] = {}
    for raw in bronze(deliveries):
        row = clean(raw)
        if not row["title"]:
            continue
        key = (row["title"], row["release_date"])
        if key not in films or row["updated_at"] >= films[key]["updated_at"]:
            films[key] = row
    return films


def by_year_genre(films: Iterable[Row]) -> list[Row]:
    groups: dict[tuple[int, str | None], list[Row]] = defaultdict(list)
    for film in films:
        groups[film["release_date"].year, film["genre"]].append(film)
    rows = []
    for (year, genre), members in groups.items():
        ratings = [film["rating"] for film in members if film["rating"] is not None]
        revenues = [film["revenue"] for film in members if film["revenue"] is not None]
        rows.append(
            {
                "year": year,
                "genre": genre,
                "movie_count": len(members),
                "avg_rating": sum(ratings) / len(ratings) if ratings else None,
                "total_revenue": sum(revenues) if revenues else None,
            }
        )
    return rows


def top_movies(films: Iterable[Row]) -> list[Row]:
    genres: dict[str, list[Row]] = defaultdict(list)
    for film in films:
        if film["genre"] is not None and (film["votes"] or 0) >= 10_000:
            genres[film["genre"]].append(film)
    rows = []
    for genre, members in genres.items():
        members.sort(key=lambda f: (-f["rating"], -f["votes"], f["title"], f["release_date"]))
        for place, film in enumerate(members[:10], start=1):
            kept = ("title", "release_date", "rating", "votes", "revenue")
            rows.append({"genre": genre, "place": place, **{name: film[name] for name in kept}})
    return rows


def multiset(rows: Iterable[Row], digits: int | None = None) -> Counter:
    """Rows as a multiset that two engines can be compared by, whatever the order.

    Floating-point means depend on the order of addition: `digits` rounds them for the comparison with
    an independent computation. Two readers of one file have to agree to the last bit.
    """

    def value(cell: Any) -> Any:
        if isinstance(cell, float) and digits is not None:
            return round(cell, digits)
        return cell

    return Counter(tuple((name, value(cell)) for name, cell in sorted(row.items())) for row in rows)


def difference(left: Counter, right: Counter, most: int = 3) -> str:
    """Why two multisets differ, short enough to read."""
    only_left, only_right = left - right, right - left
    return (
        f"{only_left.total()} rows only on the left, such as {list(only_left)[:most]}; "
        f"{only_right.total()} rows only on the right, such as {list(only_right)[:most]}"
    )


def assert_same(left: Iterable[Row], right: Iterable[Row], digits: int | None = None) -> None:
    a, b = multiset(left, digits), multiset(right, digits)
    # Two empty sides are equal and prove nothing.
    assert a, "no rows to compare"
    assert a == b, difference(a, b)
