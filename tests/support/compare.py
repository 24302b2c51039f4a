"""Hold what a store has against what the oracle says, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamlstm.models.pairs import join
from streamlstm.store.record.layout import RecordFormat
from support.oracle import Oracle


def assert_anomalies_equal(found: Sequence[tuple[bytes, Sequence[bytes]]], oracle: Oracle) -> None:
    """Each value that scored as an anomaly told once, in order, with the oracle's bits; no other."""
    told = Oracle(oracle.model)
    told.predictions = oracle.anomalies
    assert_predictions_equal(found, told)


def assert_predictions_equal(found: Sequence[tuple[bytes, Sequence[bytes]]], oracle: Oracle) -> None:
    """Ids, series in order, and numbers that parse to the same float32, or float64."""
    there, wanted_ids = [entry_id.decode() for entry_id, _ in found], [entry_id for entry_id, _ in oracle.predictions]
    assert there == wanted_ids, f"answers to {there} where {wanted_ids} are to be answered"
    for (entry_id, fields), (_, answers) in zip(found, oracle.predictions, strict=True):
        assert [name.decode() for name in fields[0::2]] == [name for name, _ in answers], f"the series of {entry_id!r}"
        for text, (name, wanted) in zip(fields[1::2], answers, strict=True):
            numbers = np.array([wanted.dtype.type(part) for part in text.decode().split(",")])
            if numbers.tobytes() == wanted.tobytes():
                continue
            np.testing.assert_array_equal(numbers, wanted, strict=True, err_msg=f"{entry_id} {name} {text!r}")
            known = ~np.isnan(wanted)  # a NaN has many bit patterns, its text has one
            assert numbers[known].tobytes() == wanted[known].tobytes(), (entry_id, name, text, wanted)


def assert_states_equal(found: Mapping[bytes, bytes], oracle: Oracle, layout: RecordFormat) -> None:
    """One record a series, with the oracle's state, last prediction, last value and count of steps."""
    differing = {name.decode() for name in found} ^ set(oracle.series)
    assert not differing, f"series with a record or with values, but not both: {differing}"
    for name, record in found.items():
        row, wanted = layout.decode_one(record)[None], oracle.series[name.decode()]
        assert layout.numbers(row)[0].tobytes() == wanted.state.tobytes(), name
        output, value = layout.last_output(row)[0], layout.last_value(row)[0]
        if layout.exact:
            output, value = join(output), join(value)
        assert output.tobytes() == wanted.output.tobytes(), name
        assert value.tobytes() == wanted.value.tobytes(), name
        assert int(layout.header(row)["steps"][0]) == wanted.steps, name
        assert int(layout.header(row)["rejected"][0]) == wanted.rejected, name
        if wanted.calibrator is not None:
            kept, theirs = layout.calibration(row)[0], wanted.calibrator
            assert kept["tails"].tolist() == theirs.tails, name
            for field in ("seen", "scale", "low", "high", "covered", "expected", "odd", "aftermath"):
                assert kept[field] == getattr(theirs, field), (name, field)
