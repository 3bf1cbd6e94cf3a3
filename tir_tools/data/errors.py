"""What can be wrong with data, always said with the file, the row or column, the value and what to do.

DataError
 ├── FileError     a file that is missing, unreadable or of an unknown format, or one that must not be overwritten
 ├── ColumnError   a column that is needed is not there
 ├── RowError      a row has a missing or wrong field
 ├── CountError    a data set has another number of problems than it should
 └── HubError      the hub gave nothing
"""

from __future__ import annotations


class DataError(ValueError):
    """Data cannot be used as asked."""


class FileError(DataError):
    """A file is missing, unreadable, of an unknown format, or in the way."""


class ColumnError(DataError):
    """A column that is needed is not there."""


class RowError(DataError):
    """A row has a missing or wrong field."""


class CountError(DataError):
    """A data set has another number of problems than it should."""


class HubError(DataError):
    """The hub gave nothing."""


def shortened(value: object, limit: int = 80) -> str:
    """`value` as it would be written in Python, in at most `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
