"""SQL of the hot path: built by SQLAlchemy once, run by the driver without it."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Column, Dialect, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler


class Statements:
    """Compiles statements for one database.

    Args:
        dialect: SQLAlchemy's, with positional parameters.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

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
        dialect = sqlite if self._dialect.name == "sqlite" else postgresql
        statement = dialect.insert(table).values({column.name: bindparam(column.name) for column in table.c})
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={column.name: column + statement.excluded[column.name] for column in sums},
        )
        return self.compile(statement, [column.name for column in table.c])
