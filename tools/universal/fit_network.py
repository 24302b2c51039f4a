"""Fit the network that corrects the universal model's mixture, and write its weights: `models/network.npz`.

    python tools/universal/fit_network.py OUT/learnt-from OUT/chosen-on [FILE]

The folders are those of `learnt_series.py` and `public_series.py`; made-up series are added (`made_up_series.py`). What
it sees at each value is what the graph of `streamlstm.training.blending.correction` makes, which carries nothing of the
network, so all values are learnt from in any order. Some 2.5 million of them take 10 minutes on one core; what is
written is the same on the same machine. Every seventh public series or so is kept aside, and how far off it is after
each epoch is printed.
"""

from __future__ import annotations

import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from made_up_series import made_up
from numpy.typing import NDArray
from settings import EXPERTS, TINY, Settings
from tilts import TILTS, raises
from torch import Tensor, nn

from streamlstm.models import NETWORK_FILE, UNIVERSAL_FILE, Model, split
from streamlstm.tables import read_table
from streamlstm.training.blending.correction import SILENT, Network, tapped

LONGEST = 2500  # values of a series, the last ones
SERIES_A_CALL = 64
LARGEST_UNITS = 1e6  # a change beyond, in units of the best expert's errors, is not learnt from
HIDDEN = 64
SEES = 2 * EXPERTS + 2 * (Settings().columns + 1) + 2  # numbers, see `correction.corrected`
EPOCHS, BATCH, RATE, DROPPED, DECAY = 8, 4096, 3e-3, 0.05, 1e-3
LINEAR_BEYOND = 8.0  # usual errors of the series: beyond, an error counts linearly
MADE_UP = 0.3  # what a made-up series counts beside a public one
YOUNG = 50  # values
LARGE_GROUPS = -0.3  # power of a group's weight by which each of its series counts less
ASIDE = 7  # every seventh

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Values:
    """What is learnt from of some values: `seen` (N, S) by the network, the experts' `shares` as logarithms (N, E),
    what they `said` (N, E) and the `change` that came (N,), in units of the best expert's errors, and that `unit` (N,).
    """

    seen: NDArray[np.float16]
    shares: NDArray[np.float16]
    said: NDArray[np.float16]
    change: Float32
    unit: Float32


class Tapped:
    """The universal model, and what its graph makes for the network."""

    def __init__(self) -> None:
        spec = Model(UNIVERSAL_FILE.read_bytes()).spec
        self._first = np.concatenate([np.broadcast_to(np.float32(entry.initial), entry.size) for entry in spec.state])
        shapes = ((SEES, HIDDEN), (HIDDEN,), (HIDDEN, TILTS), (TILTS, EXPERTS))
        nothing = Network(*(np.zeros(shape, np.float32) for shape in shapes))
        self._session = onnxruntime.InferenceSession(tapped(nothing), providers=["CPUExecutionProvider"])

    def __call__(self, series: Sequence[NDArray[np.float64]]) -> list[Values]:
        """What is learnt from of each of some series (N,), after each value but the last."""
        longest = max(map(len, series))
        values = np.stack([np.pad(one, (0, longest - len(one)), "edge") for one in series], axis=1)  # (T, B)
        state, found = np.tile(self._first, (len(series), 1)), []
        for pair in split(values[:-1, :, None]):
            _, state, *taps = self._session.run(None, {"x": pair[None], "state": state})
            found.append(taps)
        seen, shares, said, unit = (np.stack(every) for every in zip(*found, strict=True))  # (T - 1, B, ...)
        shares = np.maximum(shares - shares.max(axis=2, keepdims=True), -60.0)
        unit = np.maximum(unit, np.float32(TINY))
        said = np.clip(said / unit, -60.0, 60.0)
        change = np.clip(np.diff(values, axis=0) / unit[..., 0], -2 * LARGEST_UNITS, 2 * LARGEST_UNITS)
        return [
            Values(
                seen=seen[:count, at].astype(np.float16),
                shares=shares[:count, at].astype(np.float16),
                said=said[:count, at].astype(np.float16),
                change=change[:count, at].astype(np.float32),
                unit=unit[:count, at, 0],
            )
            for at, count in enumerate(len(one) - 1 for one in series)
        ]


class Net(nn.Module):
    """The network as it is fitted, and the mixture that it corrects."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Linear(SEES, HIDDEN)
        self.said = nn.Linear(HIDDEN, TILTS, bias=False)
        nn.init.zeros_(self.said.weight)  # it begins as the mixture without it
        self.drop = nn.Dropout(DROPPED)
        self.raised = torch.from_numpy(raises()).float()

    def forward(self, seen: Tensor, shares: Tensor, said: Tensor) -> Tensor:
        """The change that is forecast (N,), in units of the best expert's errors; arguments as in `Values`."""
        old = torch.relu(1 - SILENT * seen[:, -2:-1])
        tilts = self.said(self.drop(torch.relu(self.seen(seen))) * old)
        return (torch.softmax(shares + tilts @ self.raised, 1) * said).sum(1) + tilts[:, -1]

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """What is written, by the names of `Network`."""
        found = (self.seen.weight.T, self.seen.bias, self.said.weight.T)
        written = [one.detach().numpy().astype(np.float16) for one in found]
        return dict(zip(Network._fields, (*written, raises()), strict=True))


def main() -> None:
    """Fit it to the tables of the folders, and write it."""
    torch.manual_seed(0)
    public, chosen, file = map(Path, (*sys.argv[1:], NETWORK_FILE)[:3])
    series = [(path.parent.name, path.stem, values_of(path)) for path in sorted(public.glob("*/*.csv"))]
    series += [(group_of(path), path.stem, values_of(path)) for path in sorted(chosen.glob("*.csv"))]
    learnt, kept = Pool(), Pool()
    for group, name, found in features([*series, *made_up()]):
        aside = zlib.crc32(name.encode()) % ASIDE == 0 and not group.startswith("made-up")
        (kept if aside else learnt).add(group, found)
    net = Net()
    fit(net, learnt.joined(), kept)
    np.savez(file, **net.weights())
    print(f"{file.name}: {len(learnt.parts)} series, {sum(one.numel() for one in net.parameters())} weights")


def values_of(path: Path) -> NDArray[np.float64]:
    """The last values of a table's one series (N,)."""
    return read_table(path)[0].values[-LONGEST:, 0]


def group_of(path: Path) -> str:
    """The group of a series that the model was chosen on: its cloud metrics are a group of their own."""
    return "chosen-NAB" if path.stem.startswith("NAB.") else "chosen"


def features(series: Sequence[tuple[str, str, NDArray[np.float64]]]) -> Iterator[tuple[str, str, Values]]:
    """Group, name and what is learnt from of each; those of like length are stepped together."""
    tapped = Tapped()
    ordered = sorted(series, key=lambda one: len(one[2]))
    for first in range(0, len(ordered), SERIES_A_CALL):
        some = ordered[first : first + SERIES_A_CALL]
        found = tapped([values for _, _, values in some])
        yield from ((group, name, values) for (group, name, _), values in zip(some, found, strict=True))


class Pool:
    """Series that are learnt from, or kept aside."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, Values, Float32]] = []  # group; values; what an error of 1 counts for each

    def add(self, group: str, values: Values) -> None:
        """Take a series, unless the mixture has no error in it."""
        off = mixture(values) * values.unit
        rms = np.sqrt(np.mean(np.square(off[8:], dtype=np.float64))) if len(off) > 8 else 0.0
        if not rms > 0:
            return
        usual = np.full(len(off), rms)
        # A series that begins is judged by what the last value is off, as people see it.
        young = np.square(values.change[1:YOUNG] * values.unit[1:YOUNG], dtype=np.float64)
        usual[:YOUNG] = max(rms, float(np.sqrt(np.mean(young))))
        known = np.abs(values.change) < LARGEST_UNITS
        known[0] = False  # of the first value's unit nothing is known
        counts = np.where(known, np.minimum(values.unit / usual, 1e3), 0.0)
        self.parts.append((group, values, counts.astype(np.float32)))

    def joined(self) -> tuple[Values, Float32, Float32]:
        """All values; what an error of 1 counts; what each value weighs, 1 in the mean."""
        groups: dict[str, float] = defaultdict(float)
        for group, _, counts in self.parts:
            groups[group] += len(counts) ** 0.5
        weights = [
            np.full(len(counts), len(counts) ** -0.5 * groups[group] ** LARGE_GROUPS)
            * (MADE_UP if group.startswith("made-up") else 1.0)
            for group, _, counts in self.parts
        ]
        every = np.concatenate(weights).astype(np.float32)
        values = Values(
            **{
                name: np.concatenate([getattr(one, name) for _, one, _ in self.parts])
                for name in Values.__dataclass_fields__
            }
        )
        return values, np.concatenate([counts for _, _, counts in self.parts]), every / every.mean()


def mixture(values: Values) -> NDArray[np.float64]:
    """By how far the mixture by errors alone is off (N,), in units of the best expert's errors."""
    shares = np.exp(values.shares.astype(np.float32))
    said = (shares * values.said).sum(1) / shares.sum(1)
    return np.asarray(said - values.change, np.float64)


def fit(net: Net, learnt: tuple[Values, Float32, Float32], kept: Pool) -> None:
    """Fit it, and print after each epoch how far off it is on what is kept aside, over the mixture without it."""
    values, counts, weights = learnt
    tensors = [torch.from_numpy(one) for one in (values.seen, values.shares, values.said, values.change)]
    counts_of, weights_of = torch.from_numpy(counts), torch.from_numpy(weights)
    updates = len(counts) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * updates + 1, pct_start=0.1)
    for epoch in range(EPOCHS):
        net.train()
        order = torch.randperm(len(counts))
        for some in order[: updates * BATCH].split(BATCH):
            seen, shares, said, change = (one[some].float() for one in tensors)
            off = ((net(seen, shares, said) - change) * counts_of[some]).abs()
            loss = torch.where(off < LINEAR_BEYOND, off.square(), LINEAR_BEYOND * (2 * off - LINEAR_BEYOND))
            optimizer.zero_grad()
            (loss * weights_of[some]).mean().backward()  # type: ignore[no-untyped-call, unused-ignore]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: " + ", ".join(judged(net, kept)), flush=True)


def judged(net: Net, kept: Pool) -> Iterator[str]:
    """Of series kept aside, root mean square errors of the last fifth, and absolute ones of the first 50 values."""
    last, first = [], []
    net.eval()
    for _, values, _ in kept.parts:
        with torch.no_grad():
            inputs = (torch.from_numpy(one).float() for one in (values.seen, values.shares, values.said))
            off = (net(*inputs).numpy() - values.change) * np.float64(values.unit)
        before = mixture(values) * values.unit
        end = max(1, len(off) // 5)
        last.append(0.5 * np.log(np.square(off[-end:]).sum() / max(np.square(before[-end:]).sum(), 1e-300)))
        start = np.abs(before[1:YOUNG]).sum()
        first.append(np.log(np.abs(off[1:YOUNG]).sum() / start) if start > 1e-6 * np.abs(before).max() else np.nan)
    for name, found in (("last fifth", last), ("first 50", first)):
        told = np.array(found)[np.isfinite(found)]
        yield f"{name} {np.exp(told.mean()):.4f} of the mixture without it, at worst {np.exp(told.max()):.2f}"


if __name__ == "__main__":
    main()
