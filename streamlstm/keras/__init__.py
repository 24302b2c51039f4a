"""Step models from models made elsewhere; needs the extra `train`, and `keras` for files of Keras."""
