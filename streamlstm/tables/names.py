"""The names of columns that say what they hold; in lower case, for case makes no difference."""

from __future__ import annotations

ID_COLUMN, TIME_COLUMN, TARGET_COLUMN = "unique_id", "ds", "y"  # the names of the long form
ID_NAMES = frozenset({ID_COLUMN, "item_id", "series_id", "id", "sensor", "sensor_id"})
TIME_NAMES = frozenset({TIME_COLUMN, "timestamp", "time", "date", "datetime", "date_time", "ts", "t"})
VALUE_NAMES = frozenset({TARGET_COLUMN, "value", "target"})  # what is called so is never the time
# What tools call the numbers of rows when they write them, which is often by no name at all.
ROW_NAMES = frozenset({"", "index", "id", "row", "rownames", "unnamed: 0", "__index_level_0__"})
NO_ID = "none"  # as the name of the id column: the table is one series
