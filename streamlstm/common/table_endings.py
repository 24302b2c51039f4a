"""How files end that tables are written to: what they are to be is told by it."""

TABLE_ENDINGS = (".csv", ".parquet")
