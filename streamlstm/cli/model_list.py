"""What `streamlstm model list` shows of a stream: who has which role, and who is better on the same values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from streamlstm.cli.options import shown_model
from streamlstm.client import Compared, compared, facts_of
from streamlstm.engine import scored_feature
from streamlstm.errors import ModelError, StoreError
from streamlstm.evaluation import compare_errors
from streamlstm.models import Model
from streamlstm.store import Keys, Meta, Roles
from streamlstm.store.resp import Connection

SURE = 0.05  # what p is below, if a difference is called one


def standing(roles: Roles, connection: Connection, stream: str, most: int) -> dict[str, Any]:
    """The models of a stream, and their errors on its last `most` entries, as plain data."""
    meta = roles.meta()
    found: dict[str, Any] = {"stream": stream, **facts_of(meta), "compared": None, "remark": None}
    if meta.challenger is None:
        return found
    try:
        output, feature = scored_place(roles, meta)
        errors = compared(connection, Keys(stream), meta, most=most, output=output, feature=feature)
    except (StoreError, ModelError) as error:
        found["remark"] = str(error)
        return found
    found["compared"] = figures_of(errors)
    return found


def scored_place(roles: Roles, meta: Meta) -> tuple[int, int]:
    """Where the forecast that is scored stands among outputs, and its value among features: of the first target."""
    from streamlstm.cli.loading import most_model_bytes

    assert meta.challenger is not None, "there is one"
    data = roles.file(meta.challenger.model, most_bytes=most_model_bytes())
    if data is None:
        raise StoreError("the challenger's file is not kept any more, so which of its numbers is a forecast is unknown")
    output, feature = scored_feature(Model(data).spec.targets)
    if output < 0:
        raise StoreError("the challenger forecasts none of its features, as far as its file says")
    return output, feature


def figures_of(errors: Compared) -> dict[str, Any]:
    """Errors of both, and the difference with how sure it is, as plain data."""
    entries, place = np.unique(errors.entry, return_inverse=True)

    def by_entry(numbers: Any) -> Any:
        """Errors of one entry depend on each other: its mean counts."""
        return np.bincount(place, numbers * errors.weights) / np.bincount(place) if len(entries) else np.empty(0)

    difference = compare_errors(by_entry(errors.challenger), by_entry(errors.champion))
    return {
        "values": len(errors.naive),
        "champion": _errors(errors.champion, errors),
        "challenger": _errors(errors.challenger, errors),
        "difference": None if difference is None else asdict(difference),
    }


def _errors(found: Any, errors: Compared) -> dict[str, float]:
    if not len(found):
        return {}
    return {
        "mae": float(np.mean(found)),
        "rmse": float(np.sqrt(np.mean(found**2))),
        "scaled_error": float(np.mean(found * errors.weights)),
    }


def description(one: Mapping[str, Any]) -> Iterator[str]:
    """Lines about one stream."""
    yield f"stream {one['stream']}"
    figures = one["compared"] or {"champion": {}, "challenger": {}, "values": 0, "difference": None}
    yield f"  {'role':<11}{'model':<14}{'MAE':>12}{'RMSE':>12}{'scaled':>9}"
    for role in ("champion", "challenger"):
        model = one[role]
        if model is None:
            continue
        errors = figures[role]
        numbers = f"{errors['mae']:>12.5g}{errors['rmse']:>12.5g}{errors['scaled_error']:>9.3f}" if errors else ""
        yield f"  {role:<11}{shown_model(model):<14}{numbers}".rstrip()
    if one["challenger"] is None:
        yield "  no challenger; `streamlstm model add NEW.onnx` gives one"
        return
    if one["challenger_stopped"]:
        yield f"  the challenger is not stepped any more: {one['challenger_stopped']}"
    elif one["challenger_position"] != one["position"]:
        yield f"  the challenger is at {one['challenger_position']}, the champion at {one['position']}"
    yield f"  {verdict(figures)}" if one["remark"] is None else f"  {one['remark']}"


def verdict(figures: Mapping[str, Any]) -> str:
    """Who is better, in words."""
    difference, values = figures["difference"], figures["values"]
    if difference is None:
        return f"{values:,} values have been forecast by both: too few to say who is better"
    word = "better" if difference["better"] >= 0 else "worse"
    span = f"95 %: {difference['low']:+.1%} to {difference['high']:+.1%}"
    sure = f"p = {difference['p']:.2g}" if difference["p"] >= 1e-4 else "p < 0.0001"
    if difference["p"] >= SURE:
        return f"no clear difference on {values:,} values: {difference['better']:+.1%} ({span}; {sure})"
    return f"on {values:,} values the challenger is {abs(difference['better']):.1%} {word} ({span}; {sure})"
