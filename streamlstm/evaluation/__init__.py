"""How good forecasts are: one step ahead through a table, beside the classics; needs no torch."""
