"""The record of one series: its layout, what calibrates its intervals, the columns that come of it."""
