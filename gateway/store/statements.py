"""SQL of the hot path: built by SQLAlchemy once, run by the driver without it."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Column, Dialect, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler


class Statements:
    """Compiles statements for one database.

    Args:
        dialect: SQLAlchemy's, with positional parameters.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.embedded = dialect.name == "sqlite"

    def compile(self, statement: ClauseElement, parameters: Sequence[str]) -> str:
        """The SQL of a statement whose parameters come in the given order.

        Raises:
            ValueError: the statement has other parameters, or in another order.
        """
        compiled = statement.compile(dialect=self._dialect)
        order = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
        if order != list(parameters):
            raise ValueError(f"parameters are {order}, not {list(parameters)}")
        return str(compiled)

    def insert(self, table: Table, columns: Iterable[Column[Any]]) -> str:
        """`INSERT` of these columns, in this order."""
        names = [column.name for column in columns]
        return self.compile(table.insert().values({name: bindparam(name) for name in names}), names)

    def add_up(self, table: Table, sums: Iterable[Column[Any]]) -> str:
        """`INSERT` of all columns that adds to the row that exists: all but the primary key are counters."""
        dialect = sqlite if self.embedded else postgresql
        statement = dialect.insert(table).values({column.name: bindparam(column.name) for column in table.c})
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={column.name: column + statement.excluded[column.name] for column in sums},
        )
        return self.compile(statement, [column.name for column in table.c])

    def select_in(
        self, table: Table, column: Column[Any], *columns: Column[Any], lock: bool = False
    ) -> Callable[[int], str]:
        """`SELECT … WHERE column IN (…)`, in the order of that column, for any number of values.

        Args:
            table: where to look.
            column: which must have one of the values.
            columns: those wanted; all when left out.
            lock: keep others from changing the rows until the commit. SQLite has but one writer anyway.
        """

        @functools.cache
        def of(count: int) -> str:
            names = [f"value_{number}" for number in range(count)]
            statement = select(*(columns or table.c)).where(column.in_([bindparam(name) for name in names]))
            statement = statement.order_by(column)
            if lock and not self.embedded:
                statement = statement.with_for_update()
            return self.compile(statement, names)

        return of
