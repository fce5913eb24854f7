"""What a table holds after each of its changes, computed in Python alone.

The model knows neither files nor metadata: it has columns that keep their identity under any name, the
rows of each branch, and the state that each snapshot left behind. What engines read is compared with it.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import Any

Row = dict[str, Any]


@dataclasses.dataclass
class Column:
    """A column by its identity. Another column of the same name is another column."""

    key: int
    # What rows have that were written before the column was there, or without naming it.
    default: Any = None
    fields: Columns | None = None


Columns = dict[str, Column]


@dataclasses.dataclass
class Stored:
    """A row by keys of columns, and which partitioning of the table it was written with."""

    values: dict[int, Any]
    partitioning: int


@dataclasses.dataclass(frozen=True)
class State:
    """What a snapshot holds, with the columns that the table had when it was made."""

    branch: str
    columns: Columns
    rows: tuple[Stored, ...]

    def shown(self, columns: Columns | None = None) -> list[Row]:
        """As a query shows it, with other columns if they are given."""
        return [shown(columns or self.columns, row.values) for row in self.rows]


def shown(columns: Columns, values: dict[int, Any]) -> Row:
    row = {}
    for name, column in columns.items():
        value = values.get(column.key, column.default)
        nested = column.fields is not None and value is not None
        row[name] = shown(column.fields, value) if nested else value
    return row


def kept(columns: Columns, row: Row) -> dict[int, Any]:
    unknown = row.keys() - columns.keys()
    assert not unknown, f"the model has no columns {unknown}"
    values = {}
    for name, column in columns.items():
        value = row.get(name, column.default)
        nested = column.fields is not None and value is not None
        values[column.key] = kept(column.fields, value) if nested else value
    return values


class Model:
    """A table. Each method that changes rows is one snapshot."""

    def __init__(self, *columns: str) -> None:
        """A table with these columns; `a.b` is a field of the struct `a`."""
        self._keys = itertools.count()
        self.columns: Columns = {}
        self.heads: dict[str, list[Stored]] = {"main": []}
        self.states: list[State] = []
        self.tags: dict[str, State] = {}
        self._partitioning = 0
        for column in columns:
            self.add(column)

    # Columns

    def _of(self, path: str) -> tuple[Columns, str]:
        """The columns among which the last name of a path is."""
        *parents, name = path.split(".")
        columns = self.columns
        for parent in parents:
            column = columns[parent]
            if column.fields is None:
                column.fields = {}
            columns = column.fields
        return columns, name

    def add(self, path: str, default: Any = None, after: str | None = None) -> None:
        columns, name = self._of(path)
        assert name not in columns
        columns[name] = Column(next(self._keys), default)
        if after is not None:
            self.move(path, after)

    def drop(self, path: str) -> None:
        columns, name = self._of(path)
        del columns[name]

    def rename(self, path: str, new: str) -> None:
        columns, name = self._of(path)
        assert new not in columns
        pairs = [(new if old == name else old, column) for old, column in columns.items()]
        columns.clear()
        columns.update(pairs)

    def move(self, path: str, after: str | None = None) -> None:
        """Behind another column, or to the front."""
        columns, name = self._of(path)
        moved = columns.pop(name)
        pairs = list(columns.items())
        at = 0 if after is None else [old for old, _ in pairs].index(after) + 1
        columns.clear()
        columns.update([*pairs[:at], (name, moved), *pairs[at:]])

    def repartition(self) -> None:
        """Rows that are written from now on are in another partitioning."""
        self._partitioning += 1

    # Rows

    def insert(self, rows: Iterable[Row], branch: str = "main") -> None:
        self.heads[branch] = [*self.heads[branch], *map(self._stored, rows)]
        self.committed(branch)

    def overwrite(
        self, gone: Callable[[Row], bool], rows: Iterable[Row], branch: str = "main"
    ) -> None:
        left = [row for row in self.heads[branch] if not gone(shown(self.columns, row.values))]
        self.heads[branch] = [*left, *map(self._stored, rows)]
        self.committed(branch)

    def replace_partitions(self, partition: Callable[[Row], Any], rows: list[Row]) -> None:
        """A dynamic overwrite: rows go that are in the partition of a new row, in the partitioning that
        the table has now. Those that were written with an older one stay, as in Java."""
        replaced = {partition(row) for row in rows}

        def gone(row: Stored) -> bool:
            if row.partitioning != self._partitioning:
                return False
            return partition(shown(self.columns, row.values)) in replaced

        left = [row for row in self.heads["main"] if not gone(row)]
        self.heads["main"] = [*left, *map(self._stored, rows)]
        self.committed("main")

    def delete(self, gone: Callable[[Row], bool], branch: str = "main") -> None:
        self.overwrite(gone, [], branch)

    def update(
        self,
        which: Callable[[Row], bool],
        change: Callable[[Row], Row],
        branch: str = "main",
        inserted: Iterable[Row] = (),
        gone: Callable[[Row], bool] = lambda row: False,
    ) -> None:
        """Changes some rows, and with a MERGE removes others and adds some, in one snapshot."""
        rows = []
        for stored in self.heads[branch]:
            row = shown(self.columns, stored.values)
            if gone(row):
                continue
            rows.append(self._stored({**row, **change(row)}) if which(row) else stored)
        self.heads[branch] = [*rows, *map(self._stored, inserted)]
        self.committed(branch)

    def upsert(self, rows: Iterable[Row], key: str, sequence: str) -> None:
        """AUTO CDC: a row takes the place of the one with its key, unless that is newer. Columns that it
        does not have are not kept: they have their defaults."""
        for row in rows:
            there = [
                stored
                for stored in self.heads["main"]
                if shown(self.columns, stored.values)[key] == row[key]
            ]
            sequences = [shown(self.columns, stored.values)[sequence] for stored in there]
            if any(other is not None and other > row[sequence] for other in sequences):
                continue
            left = [stored for stored in self.heads["main"] if stored not in there]
            self.heads["main"] = [*left, self._stored(row)]
        self.committed("main")

    def rewritten(self) -> None:
        """The same rows in other files, of the partitioning that the table has now."""
        rows = self.heads["main"]
        self.heads["main"] = [Stored(row.values, self._partitioning) for row in rows]
        self.committed("main")

    def committed(self, branch: str) -> None:
        """A snapshot of what the branch holds now."""
        state = State(branch, copy.deepcopy(self.columns), tuple(self.heads[branch]))
        self.states.append(state)

    def _stored(self, row: Row) -> Stored:
        return Stored(kept(self.columns, row), self._partitioning)

    # Branches and tags

    def branch(self, name: str) -> None:
        self.heads[name] = list(self.heads["main"])

    def tag(self, name: str) -> None:
        """Of the newest snapshot of `main`."""
        self.tags[name] = self.last("main")

    def roll_back(self, state: State) -> None:
        """To an older state, which is no new snapshot."""
        self.heads["main"] = list(state.rows)

    def last(self, branch: str) -> State:
        """The newest snapshot of a branch that has some of its own."""
        return next(state for state in reversed(self.states) if state.branch == branch)

    def shown(self, branch: str = "main") -> list[Row]:
        """What a branch holds, with the columns that the table has now."""
        return [shown(self.columns, row.values) for row in self.heads[branch]]


def literal(value: Any, array: str = "array") -> str:
    """A value in SQL, as Spark and berglake read it; `array` is the function that makes one."""
    match value:
        case None:
            return "NULL"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case date():
            return f"DATE '{value.isoformat()}'"
        case int() | Decimal():
            return str(value)
        case float():
            return f"{value!r}e0"
        case list():
            return f"{array}({', '.join(literal(item, array) for item in value)})"
        case dict():
            pairs = (f"'{name}', {literal(item, array)}" for name, item in value.items())
            return f"named_struct({', '.join(pairs)})"
    raise TypeError(f"no literal for {value!r}")


def values(rows: list[Row], array: str = "array") -> str:
    """`(columns) VALUES (row), …` of rows that all have the same columns."""
    names = list(rows[0])
    assert all(list(row) == names for row in rows), "rows of one statement have the same columns"
    lines = (", ".join(literal(row[name], array) for name in names) for row in rows)
    return f"({', '.join(names)}) VALUES {', '.join(f'({line})' for line in lines)}"
