"""The step model of a blend: the graphs of its parts beside each other, and their forecasts' mean.

How the parts are weighed: by their shares, and by the squares of their errors of late, so that what goes astray after a
shift counts less; not more sharply than that, since a mean is better than a choice. Part k has the weight

    share_k / (sum_k + a hundredth of the largest sum)^2 / what makes all weights one.

The universal model takes one step a call, so this does too. It does not say further steps than the next: the mean
of those is of the other two and of simple ones, by shares of each step alone (`ahead`), and is held against simple ones
by its errors so many steps ahead of late (`late`). Where there are no ARIMAs, the trained one's moved by as much as the
universal model says another next value stand for theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from streamlstm.errors import ModelError
from streamlstm.models import (
    BLEND,
    LEAST_SHARE,
    LEAST_SUM,
    UNIVERSAL,
    Model,
    ModelSpec,
    StateEntry,
    check_bits,
    step_by_step,
)
from streamlstm.models.graph import Graph, spec_of, without_needless_cuts
from streamlstm.nn import OnnxOperations, added
from streamlstm.training.blending.ahead import Ahead
from streamlstm.training.blending.arima_nodes import ArimaNodes, arimas_state
from streamlstm.training.blending.blend import Blend
from streamlstm.training.blending.correction import corrected_universal, loaded_corrected_universal
from streamlstm.training.blending.late import MOST_TRUST, Late, weighed
from streamlstm.training.blending.seasons_before import SeasonsBefore
from streamlstm.training.export.model_writer import Exportable, check_export, export_model
from streamlstm.training.forecaster.scaling import RAW_LIMIT

Floats = NDArray[np.floating[Any]]
Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`
Simple = tuple[Sym, NDArray[np.float64]]  # values of seasons before (B, n), and what they count for further steps

DECAY = 0.97  # of the sums of squared errors, a step
FIRST_SUM = 5.0  # of each, squared units
MOST_ERROR_UNITS = 7.0  # of the universal model's scale of the series
MOST_SAID_UNITS = 50.0  # of what a part says: one that is led astray by a spike does not take the mean along
# What the trained forecaster's errors count more on values it has been fitted to, where they are too small: as much
# again as they are, and less where it was fitted to more than so many.
FLATTERED = 400.0
CHANGES = ("oldest", "older", "recent")  # of the universal model's state: changes from value to value, the latest last
MOST_MOVED = 1e37  # changes that the universal model carries are cut there
MOST_APART = 1e38  # from the value, of what a part says: the difference of two such is in float32's range
TINY = 1e-30
TOLERANCE = 1e-4  # of a change, that a part may differ by from itself alone
ROUNDING = 1e-6  # of a value, in float32, that it may differ by too


def export_blended(
    exported: Exportable, facts: dict[str, Any], blend: Blend | None, x: Floats, time: NDArray[np.int64] | None
) -> tuple[bytes, float]:
    """A forecaster's step model with the blend's other parts, and how far it is from torch (`check_export`) on x.

    Raises ModelError where one of the parts is not what it is alone.
    """
    own = export_model(exported, training=facts)
    difference = check_export(exported, own, x, time)
    blended = with_blend(own, blend)
    if blend is not None:
        check_blended(blended, blend, own, x, time)
    return blended, difference


def with_blend(model_bytes: bytes, blend: Blend | None) -> bytes:
    """The step model of a trained one with the blend's other parts beside it; itself without a blend."""
    return model_bytes if blend is None else _blended(model_bytes, blend)


def _blended(model_bytes: bytes, blend: Blend) -> bytes:
    own, other = (onnx.load_model_from_string(data) for data in (model_bytes, corrected_universal()))
    first, second = spec_of(own), spec_of(other)
    graph = Graph()
    side = OnnxOperations(graph)
    spec = _spec(first, second, blend)
    x = side.symbol("x")
    pair = x if first.exact else _padded(x)
    entries = arimas_state(blend.arimas), _of_ahead(blend), _of_blend(blend)
    sizes = [first.state_size, second.state_size, *(entry.size for part in entries for entry in part)]
    trained, universal, *rest = side.symbol("state").split(sizes, dim=1)
    of_arimas, of_ahead, of_blend = _shared(rest, [len(part) for part in entries])
    feeds = {"x": "x", "state": trained.name} | ({"time": "time"} if first.uses_time else {})
    ours = {name: side.symbol(at) for name, at in graph.graft(own.graph, feeds).items()}
    theirs = {
        name: side.symbol(at)
        for name, at in graph.graft(other.graph, {"x": pair.name, "state": universal.name}).items()
    }
    last, count, scale = (_entry(universal, second, name) for name in ("last", "count", "scale"))
    value, every = pair.squeeze(0), ours["y"].squeeze(0)  # (B, 2), (B, O) or (B, 2O)
    moved = _total(value - last) * count.clamp(max=1.0)
    width = len(first.outputs)
    nearest = _padded(every[:, 0:1].unsqueeze(0)).squeeze(0)
    if first.exact:
        nearest = side.concat([every[:, 0:1], every[:, width : width + 1]], axis=1)
    plain, corrected, plain_low, corrected_low = theirs["y"].squeeze(0).split([1, 1, 1, 1], dim=1)
    pairs = [side.concat(pair, axis=1) for pair in ((plain, plain_low), (corrected, corrected_low))]
    said = [_total(pair - value) for pair in (nearest, *pairs)]
    carried = [ours["next_state"], theirs["next_state"]]
    further: tuple[Sym, Sym] | None = None  # the ARIMAs' changes, and whether there are enough values for them
    if blend.arimas is not None:
        part = ArimaNodes(side, blend.arimas, width)
        forecast, later, state = part(value[:, 0:1], moved, count, said[1], of_arimas)
        said, carried = [*said, forecast], [*carried, *state]
        if later is not None:
            further = later, part.full(count)
    scales = (count, scale, _entry(theirs["next_state"], second, "scale"))
    mean, bounded, state = _mixed(blend, moved, side.concat(said, axis=1), scales, of_blend)
    columns: list[tuple[Sym, ...]] = [_added(value, mean)]
    if width > 1:
        theirs_too: tuple[Sym, ...] = (
            (every[:, 1:width], every[:, width + 1 :]) if first.exact else (every[:, 1:width],)
        )
        if blend.ahead is not None:
            changes = _entry(theirs["next_state"], second, *CHANGES)
            later, of_ahead = _further(
                side, _apart(value, theirs_too), (bounded, further, changes), scales[-1], blend.ahead, of_ahead
            )
            theirs_too, carried = _added(value, later), [*carried, *of_ahead]
        columns.append(theirs_too)
    halves = [side.concat(list(half), axis=1) for half in zip(*columns, strict=False)]
    y = side.concat(halves[: 1 + first.exact], axis=1).unsqueeze(0)
    model = graph.model(spec, y.name, side.concat([*carried, *state], axis=1).name)
    done: bytes = without_needless_cuts(model).SerializeToString(deterministic=True)
    return done


def _added(value: Sym, change: Sym) -> tuple[Sym, Sym]:
    """The pair of (B, n) that is a pair (B, 2) and changes (B, n)."""
    high, low = value.split([1, 1], dim=1)
    return added((high, low), change, RAW_LIMIT)


def _apart(value: Sym, said: tuple[Sym, ...]) -> Sym:
    """How far from the pair of (B, n) that is a value (B, 2) forecasts are, (B, n), cut; they may be pairs."""
    apart = [part - place for part, place in zip(said, value.split([1, 1], dim=1), strict=False)]
    return (apart[0] + apart[1] if len(apart) > 1 else apart[0]).clamp(-MOST_APART, MOST_APART)


def _further(
    side: OnnxOperations,
    own: Sym,
    others: tuple[Sym, tuple[Sym, Sym] | None, Sym],
    scale: Sym,
    ahead: Ahead,
    state: list[Sym],
) -> tuple[Sym, list[Sym]]:
    """The changes (B, n) to further steps, means of the trained ones, `own`, and others, weighed; and the state of it.

    Others are the changes to the next value that parts say, bounded; the ARIMAs' to further ones, if there are any, and
    whether there are enough values for them; and the latest ones.
    """
    bounded, arimas, changes = others
    late = Late(ahead)
    before = late.before if state else SeasonsBefore(ahead)
    looked = before.nodes(side, changes, scale) if before.places else None
    simple = None if looked is None else (looked, before.shares())
    if arimas is None:
        mean = _further_of_several(side, own, bounded, simple, ahead)
    else:
        most = (scale * MOST_SAID_UNITS).clamp(max=MOST_APART)
        mean = _further_of_one(own, arimas, simple, ahead, most)
    if not state:
        return mean, []
    later, *state = weighed(side, mean, (changes, looked), scale, late, state)
    return later, state


def _further_of_one(own: Sym, others: tuple[Sym, Sym], simple: Simple | None, ahead: Ahead, most: Sym) -> Sym:
    """The means for one series: of the trained changes, `own`, others, and simple ones.

    Those are the ARIMAs', at `most` (B, 1), and whether there are enough values for any, 1 or 0, (B, 1), else the
    trained ones stand in for them. What is simple is linear in values of seasons before.
    """
    arimas, there = others
    bounded = arimas.maximum(-most).node("Min", most)
    ours, theirs = (torch.tensor(shares) for shares in list(zip(*ahead.shares, strict=True))[:2])
    mean = own * ours + (own + (bounded - own) * there) * theirs
    if simple is None:
        return mean
    looked, shares = simple
    return mean + looked @ torch.from_numpy(shares.astype(np.float32))


def _further_of_several(side: OnnxOperations, own: Sym, said: Sym, simple: Simple | None, ahead: Ahead) -> Sym:
    """The same where the other ones are `own` moved by as much as the universal model says another next value.

    `said` are the changes to the next that parts say, bounded; of the first two, (B, 2), all is linear: one product.
    """
    ours, theirs = np.array(ahead.shares)[:, :2].T
    parts, rows = [own, said[:, :2]], [np.diag(ours + theirs), np.stack([-theirs, theirs])]
    if simple is not None:
        parts, rows = [*parts, simple[0]], [*rows, simple[1]]
    return side.concat(parts, axis=1) @ torch.from_numpy(np.concatenate(rows).astype(np.float32))


def _padded(x: Sym) -> Sym:
    """Numbers (1, B, n) with a zero behind them: one number as a pair."""
    return x.node("Pad", x.operations.ints(0, 0, 0, 0, 0, 1), x.operations.symbol(0.0))


def _total(pair: Sym) -> Sym:
    """A pair (B, 2) as one number (B, 1)."""
    return pair @ torch.ones(2, 1)


def _spec(own: ModelSpec, universal: ModelSpec, blend: Blend) -> ModelSpec:
    theirs = (replace(entry, name=f"{UNIVERSAL}.{entry.name}") for entry in universal.state)
    layers = [*own.layers, *universal.layers]
    if blend.arimas is not None:
        members = blend.arimas.members
        layers.append({"kind": "ARIMA", "units": len(members), "parameters": sum(len(one.numbers) for one in members)})
    return replace(
        own,
        state=(*own.state, *theirs, *arimas_state(blend.arimas), *_of_ahead(blend), *_of_blend(blend)),
        chunking=False,
        layers=tuple(layers),
        training={**own.training, BLEND: blend.as_facts(), "experts": universal.training["experts"]},
    )


def _shared(parts: Sequence[Sym], counts: Sequence[int]) -> list[list[Sym]]:
    """So many of the parts each, one after the other."""
    remaining = iter(parts)
    return [list(islice(remaining, count)) for count in counts]


def _of_ahead(blend: Blend) -> tuple[StateEntry, ...]:
    return () if blend.ahead is None or not blend.ahead.late_share else Late(blend.ahead).state()


def _of_blend(blend: Blend) -> tuple[StateEntry, ...]:
    count = len(blend.names)
    return (
        StateEntry(name=f"{BLEND}.errors", shape=(count,), initial=FIRST_SUM),
        StateEntry(name=f"{BLEND}.said", shape=(count,)),
    )


def _entry(state: Any, spec: ModelSpec, *names: str) -> Any:
    """The piece of a packed state (B, D) that is the entry of this name, or those of these, which lie together."""
    every = [entry.name for entry in spec.state]
    begin = every.index(names[0])
    assert tuple(every[begin : begin + len(names)]) == names, f"the universal model's state has {names}"
    first = sum(entry.size for entry in spec.state[:begin])
    return state[:, first : first + sum(entry.size for entry in spec.state[begin : begin + len(names)])]


def _mixed(blend: Blend, moved: Sym, said: Sym, seen: tuple[Sym, ...], state: list[Sym]) -> tuple[Sym, Sym, list[Sym]]:
    """The mean (B, 1) of what parts said (B, K), changes like `moved` (B, 1), which came; it bounded; and the state.

    The `count` of values and their `scale`, (B, 1), are of before the latest, the scale after it follows.
    """
    (count, scale, now), (sums, before) = seen, state
    units = (moved - before) / scale.clamp(min=TINY)
    bounded = units.clamp(-MOST_ERROR_UNITS, MOST_ERROR_UNITS) * count.clamp(max=1.0)
    more = torch.zeros(len(blend.names))
    more[0] = min(1.0, FLATTERED / blend.trained_values)
    fitted = (count * -1.0 + float(blend.trained_steps)).clamp(0.0, 1.0)  # 1 as long as it was fitted to the value
    sums = sums * DECAY + bounded * bounded * (fitted * more + 1.0)
    ones = torch.ones(len(blend.names), 1)
    held = sums + (sums.amax(dim=1, keepdim=True) * LEAST_SHARE + LEAST_SUM)
    ratio = held.amin(dim=1, keepdim=True) / held
    weights = ratio * ratio * torch.tensor(blend.shares)
    most = now * MOST_SAID_UNITS
    bounded = said.maximum(-most).node("Min", most)
    return (bounded * weights) @ ones / (weights @ ones), bounded, [sums, said]


def check_blended(model_bytes: bytes, blend: Blend, own: bytes, x: Floats, time: NDArray[np.int64] | None) -> None:
    """ModelError unless over x (T, B, 1) parts say what they say alone, and each series has its bits alone too."""
    model, names = Model(model_bytes, source="the blended model"), blend.names
    place = model.spec.state_size - len(names)
    x = model.as_fed(x)
    values = x[..., 0].astype(np.float64)
    trained = step_by_step(Model(own), x, time)[0].astype(np.float64)
    wanted = [trained[..., 0], *np.moveaxis(step_by_step(loaded_corrected_universal(), x, None)[0], 2, 0)]
    other = trained + (wanted[1] - wanted[0])[..., None]  # (T, B, O)
    if blend.arimas is not None:
        other = np.stack([blend.arimas.further(row, trained.shape[2]) for row in values.T], axis=1)
        wanted.append(np.where(np.isnan(other[..., 0]), wanted[1], other[..., 0]))
    state, rounding = model.initial_state(x.shape[1]), 0.0 if model.spec.exact else ROUNDING
    answers, scales, sizes = [], [], []
    for step in range(len(x)):
        y, state = model.step(x[step], state, None if time is None else time[step])
        answers.append(y)
        scales.append(_entry(state, model.spec, f"{UNIVERSAL}.scale")[:, 0])
        for name, part, said in zip(names, wanted, state[:, place:].T, strict=True):
            moved = part - values
            size = np.abs(moved[step]) + np.abs(moved).mean() + rounding * np.abs(values[step]) / TOLERANCE + TINY
            apart = float((np.abs(said - moved[step]) / size).max())
            if not apart <= TOLERANCE:
                raise ModelError(
                    f"the blended model's {name} part differs by {apart:.1e} of a change from itself alone"
                )
        sizes.append(size)
    low, high = _between(blend, values, np.stack(scales).astype(np.float64), trained[..., 1:], other[..., 1:])
    further = np.stack(answers)[..., 1:]
    room = TOLERANCE * np.stack(sizes)[..., None] + ROUNDING * np.abs(further)
    if not ((further >= low - room) & (further <= high + room)).all():
        raise ModelError("the blended model's further steps are not between those of its parts")
    check_bits(model, x, time)


def _between(
    blend: Blend, values: NDArray[np.float64], scales: NDArray[np.float64], trained: Floats, other: Floats
) -> tuple[Floats, Floats]:
    """What further steps are not below and not above, (T, B, O - 1), by what parts say after values (T, B)."""
    if blend.ahead is None:
        return trained, trained
    # A mean is between the parts, or trusted somewhat beyond; of what is bounded, between them and the value.
    before = SeasonsBefore(blend.ahead)
    kept = np.cumsum(np.clip(np.diff(values, axis=0, prepend=values[:1]), -MOST_MOVED, MOST_MOVED), axis=0)
    simple = np.stack([before.forecasts(*row) for row in zip(kept.T, scales.T, strict=True)], axis=2)
    every = np.stack([trained, other, *(simple + (values - kept)[..., None])])
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    beyond = (MOST_TRUST - 1) * (high - low)
    return low - beyond, high + beyond
