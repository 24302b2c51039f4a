"""The model that comes with the package: `universal`, which forecasts any series and is trained on none."""

from __future__ import annotations

from pathlib import Path

UNIVERSAL = "universal"  # the name that stands for its file wherever a model is named
UNIVERSAL_FILE = Path(__file__).with_name("universal.onnx")
NETWORK_FILE = Path(__file__).with_name("network.npz")  # corrects it in blends (`training.blending.correction`)

# What a blended model's file calls its parts (`training.blending`): `blend` among its training facts, and before names
# of entries of its state.
BLEND = "blend"
TRAINED, CORRECTED, ARIMA = "trained", "corrected", "arima"
# And what people are told of them: each stands alone, since its place among the others is not the same everywhere.
PARTS_IN_WORDS = {
    TRAINED: "the trained model",
    UNIVERSAL: "the universal model",
    CORRECTED: "the universal model corrected by a network",
    ARIMA: "ARIMAs fitted to the table",
}
