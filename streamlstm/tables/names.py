"""The names of columns that say what they hold."""

from __future__ import annotations

ID_COLUMN, TIME_COLUMN, TARGET_COLUMN = "unique_id", "ds", "y"  # the names of the long form
TIME_NAMES = (TIME_COLUMN, "time", "timestamp", "date", "datetime")  # also taken for the time column
