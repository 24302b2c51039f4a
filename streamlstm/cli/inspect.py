"""`streamlstm inspect`: what a step model is made of, from the model file alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import command, counted, data_dir_option, json_option, option, redis_option, say
from streamlstm.cli.output_options import plot_option
from streamlstm.errors import UsageError

FLOAT_BYTES = 4
NESTED = ("config",)  # a layer's whole configuration: in the JSON, not in the summary


@command("inspect", short_help="Show what a step model is made of.")
@click.argument("model", metavar="[MODEL]", required=False, type=MODEL)
@option(
    "--gates",
    metavar="TABLE",
    type=click.Path(path_type=Path),
    help="Show instead what the gates of a layer do over a series of this table; needs the extra `train`.",
)
@option(
    "--live",
    metavar="STREAM",
    setting=False,
    help="Show instead what the next forecast of a series of this stream is made of, from its state of this moment; "
    "needs the extra `train`.",
)
@option("--series", metavar="NAME", setting=False, help="The series of --live, or of --gates: without it the first.")
@option("--gates-layer", "layer", type=click.IntRange(min=1), default=1, help="The gated layer of --gates.")
@plot_option("Draw what --gates or --live shows.")
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def inspect(
    *,
    model: Path | None,
    gates: Path | None,
    live: str | None,
    series: str | None,
    layer: int,
    plot: Path | None,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    r"""Show what the step model MODEL is made of: layers, state, training facts and errors, columns, fingerprint.

    With --live it is the model that serves the stream, found there: what it mixes for the next forecast with which
    weights, and what its gates would do with a next value that is as forecast. The state is only read.
    """
    if live is not None:
        if gates is not None:
            raise UsageError("--gates TABLE and --live STREAM show two things; ask for one of them")
        from streamlstm.cli.explain import explain

        explain(live, series, model, server=(redis_url, data_dir), plot=plot, as_json=as_json)
        return
    if model is None:
        raise UsageError("name a model file, or a stream whose series are explained: --live STREAM --series NAME")
    if gates is not None:
        from streamlstm.cli.gates import show_gates

        show_gates(model, gates, series_name=series, layer=layer, plot=plot, as_json=as_json)
        return
    if plot is not None or series is not None:
        raise UsageError("--plot and --series belong to --gates TABLE, or --live STREAM")
    facts = model_facts(model)
    say([json.dumps(facts)] if as_json else _description(facts))


def model_facts(path: Path) -> dict[str, Any]:
    """Read everything a step model says of itself; raises ModelError if it is missing or not one."""
    from streamlstm.cli.loading import load_model
    from streamlstm.models import Packing
    from streamlstm.store.record import RecordFormat

    model = load_model(path)
    spec, packing = model.spec, Packing.of(model.spec)
    record = RecordFormat.of(spec, initial_state=model.initial_state()[0], fingerprint=model.fingerprint)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "fingerprint": model.fingerprint,
        "features": list(spec.features),
        "outputs": list(spec.outputs),
        "targets": list(spec.targets),
        "season": spec.season,
        "uses_time": spec.uses_time,
        "chunking": spec.chunking,
        "exact": spec.exact,
        "parameters": sum(layer.get("parameters") or 0 for layer in spec.layers),
        "layers": [dict(layer) for layer in spec.layers],
        "state": {
            "size": spec.state_size,
            "bytes": FLOAT_BYTES * (spec.state_size if packing is None else packing.words),
            "record_bytes": record.size,
            "entries": [
                {"name": entry.name, "shape": list(entry.shape), "size": entry.size, "dtype": entry.dtype}
                for entry in spec.state
            ],
        },
        "training": dict(spec.training),
    }


def _description(facts: Mapping[str, Any]) -> Iterator[str]:
    state = facts["state"]
    yield f"{facts['file']}: {counted(facts['bytes'], 'byte')}, fingerprint {facts['fingerprint'][:12]}"
    yield f"features  {', '.join(facts['features'])}"
    yield f"columns   {', '.join(facts['outputs'])}"
    yield f"season    {facts['season'] or 'none'}"
    if facts["uses_time"]:
        yield "time      the model looks at the time of each value"
    if not facts["chunking"]:
        yield "steps     one at a time: this model cannot run over time in one call"
    yield f"layers    {counted(facts['parameters'], 'parameter')}"
    for layer in facts["layers"]:
        yield f"  {_summary(layer)}"
    yield (
        f"state     {counted(state['size'], 'number')}, {counted(state['bytes'], 'byte')} a series "
        f"({state['record_bytes']:,} as stored)"
    )
    width = max((len(entry["name"]) for entry in state["entries"]), default=0)
    for entry in state["entries"]:
        kind = "" if entry["dtype"] == "float32" else f"  {entry['dtype']}"
        yield f"  {entry['name']:<{width}}  [{', '.join(map(str, entry['shape']))}]{kind}"
    if facts["training"]:
        yield "training"
        from streamlstm.models import OLDER_STEP_WIDTHS, STEP_WIDTHS

        shown = facts["training"].keys() - {STEP_WIDTHS, OLDER_STEP_WIDTHS}
        told = {name: _blend_in_words(name, value) for name, value in facts["training"].items() if name in shown}
        yield from _facts(told, "  ")
        yield from _growth(facts["training"])


def _blend_in_words(name: str, told: Any) -> Any:
    """A training fact; of the blend with its parts as `train` calls them."""
    from streamlstm.models import BLEND, PARTS_IN_WORDS

    shares = told.get("shares") if name == BLEND and isinstance(told, Mapping) else None
    if not isinstance(shares, Mapping):
        return told
    return {**told, "shares": {PARTS_IN_WORDS.get(part, part): share for part, share in shares.items()}}


def _growth(training: Mapping[str, Any]) -> Iterator[str]:
    """How much wider intervals are the further ahead they are, where the training measured it."""
    from streamlstm.models import StepWidths
    from streamlstm.store.record import DEFAULT_LEVEL

    widths = StepWidths.of(training)
    if widths is not None:
        steps = widths.calibrated.shape[1]
        last = widths.ratios(DEFAULT_LEVEL, steps, calibrated=True)[-1]
        beside = "the model's response to an error makes them" if widths.on_response else "one step ahead"
        yield f"  intervals: measured to {steps} steps ahead, there {last:.3g} times as wide as {beside}"


def _summary(layer: Mapping[str, Any]) -> str:
    """One layer in one line: its kind, then its plain facts."""
    kind = layer.get("kind", "layer")
    plain = [f"{name} {_text(value)}" for name, value in layer.items() if name != "kind" and _is_plain(name, value)]
    return " ".join([f"{kind}:", ", ".join(plain)]) if plain else str(kind)


def _is_plain(name: str, value: Any) -> bool:
    return name not in NESTED and not isinstance(value, Mapping)


def _facts(facts: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Facts one a line; facts about facts further in. A mapping of plain numbers stays on one line."""
    for name, value in facts.items():
        if not isinstance(value, Mapping):
            yield f"{indent}{name}: {_text(value)}"
        elif any(isinstance(item, Mapping) for item in value.values()):
            yield f"{indent}{name}:"
            yield from _facts(value, indent + "  ")
        else:
            yield f"{indent}{name}: " + ", ".join(f"{key} {_text(item)}" for key, item in value.items())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "none" if value is None else str(value)
