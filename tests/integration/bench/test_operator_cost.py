"""The comparison of recurrent operators with primitive nodes: both graphs are the same layer."""

from __future__ import annotations

import numpy as np
import operator_cost
import pytest


@pytest.mark.parametrize("kind", operator_cost.CELLS)
def test_both_graphs_are_the_same_layer(kind: str) -> None:
    """They forecast the same but for rounding, and each series gets the bits it gets alone."""
    models = [operator_cost.step_model(kind, 8, use_operator=use) for use in (True, False)]
    steps, batch = 20, 7
    x = operator_cost.asked(steps, batch)
    ours, nodes = (model.advance(x, model.initial_state(batch), None)[0] for model in models)
    assert np.abs(ours).max() > 0.01
    np.testing.assert_allclose(ours, nodes, atol=1e-6)
    assert models[0].fingerprint != models[1].fingerprint
    assert all(operator_cost.is_same(model, steps, batch) for model in models)
