"""The forecast as a weighted mean: of the trained forecaster's, the universal model's and ARIMAs'."""
