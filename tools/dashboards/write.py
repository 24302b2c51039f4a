"""Write the Grafana dashboards as JSON, or with --check say whether the committed files are current.

python tools/dashboards/write.py [--check]

Made with Grafana's own SDK, pinned in pyproject.toml, from the data in `boards`. Expressions are plain metrics, not
recording rules, so that the dashboards work without `deploy/prometheus`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from boards import BOARDS
from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from panels import ALL, Board, Panel

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "grafana" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


# From a bar or a line to the dashboard of its stream.
ONE_STREAM = (
    "/d/streamlstm-stream?var-stream=${__field.labels.stream:percentencode}"
    "&${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
)
INSTANT = {"number", "bars"}


def panel(described: Panel) -> timeseries.Panel | stat.Panel | bargauge.Panel | heatmap.Panel:
    """The panel as Grafana has it."""
    kinds = {"number": stat.Panel, "bars": bargauge.Panel, "heat": heatmap.Panel}
    made = kinds.get(described.kind, timeseries.Panel)()
    made.title(described.title).description(described.description).unit(described.unit)
    made.datasource(SOURCE).span(described.width).height(4 if described.kind == "number" else 8)
    for number, (expression, legend) in enumerate(described.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id("ABCDEF"[number])
        query.datasource(SOURCE)
        if described.kind in INSTANT:
            query.instant()
        else:
            query.range()
        if described.kind == "heat":
            query.format(PromQueryFormat.HEATMAP)
        made.with_target(query)
    if described.least is not None:
        made.min(described.least)
    if described.alarm is not None:
        made.thresholds(thresholds(*described.alarm))
    if described.nothing is not None:
        made.no_value(described.nothing)
    if any(legend == "{{stream}}" for _, legend in described.queries):
        made.data_links([dashboard.DashboardLink("${__field.labels.stream}").url(ONE_STREAM)])
    if isinstance(made, timeseries.Panel):
        _draw_lines(made, described)
    if isinstance(made, bargauge.Panel):
        made.orientation(VizOrientation.HORIZONTAL).display_mode(BarGaugeDisplayMode.BASIC)
        made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    return made


def _draw_lines(made: timeseries.Panel, described: Panel) -> None:
    """Lines with their last and greatest values beside their names, the greatest on top."""
    legend = common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    legend.display_mode(LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"]).sort_by("Last *").sort_desc(True)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    made.legend(legend).tooltip(tooltip)
    made.line_width(1).fill_opacity(25 if described.kind == "stacked" else 8)
    if described.alarm is not None:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if described.kind == "stacked":
        made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))


def thresholds(warn: float, alarm: float) -> dashboard.ThresholdsConfig:
    """Green, yellow, red as the value rises, or as it falls."""
    colours = ("green", "yellow", "red") if alarm > warn else ("red", "yellow", "green")
    steps = zip((None, min(warn, alarm), max(warn, alarm)), colours, strict=True)
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=colour) for value, colour in steps])
    )


def variable(name: str, query: str, *, many: bool) -> dashboard.QueryVariable:
    """A variable with the values of a label."""
    made = dashboard.QueryVariable(name).label(name).query(query).datasource(SOURCE)
    made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    # Also where one is meant: Grafana escapes a name for =~ only if there could be several, and names of streams have
    # braces.
    made.multi(True)
    if many:
        made.include_all(True)
        if name != "job":  # any job would be Prometheus' own as well
            made.all_value(".*")
    return made


def build(board: Board) -> str:
    """The dashboard's JSON."""
    made = dashboard.Dashboard(board.title).uid(board.uid).description(board.description).tags(["streamlstm"])
    made.editable().tooltip(DashboardCursorSync.CROSSHAIR).time("now-1h", "now").refresh("30s").timezone("browser")
    link = dashboard.DashboardLink("streamlstm").type(DashboardLinkType.DASHBOARDS).tags(["streamlstm"])
    made.link(link.as_dropdown(True).include_vars(True).keep_time(True))
    made.with_variable(dashboard.DatasourceVariable("datasource").label("datasource").type("prometheus"))
    made.with_variable(variable("job", "label_values(streamlstm_build_info, job)", many=True))
    streams = 'label_values(streamlstm_values_total{job=~"$job"}, stream)'
    made.with_variable(variable("stream", streams, many=not board.one_stream))
    if "Chosen series" in board.rows:
        series = f"label_values(streamlstm_series_actual{{{ALL}}}, series)"
        made.with_variable(variable("series", series, many=True))
    for title, panels in board.rows.items():
        made.with_row(dashboard.Row(title))
        for described in panels:
            made.with_panel(panel(described))
    text: str = JSONEncoder(sort_keys=True, indent=2).encode(made.build())
    return text + "\n"


def main() -> None:
    """Write, or check."""
    check = "--check" in sys.argv[1:]
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for board in BOARDS:
        path, text = FOLDER / f"{board.uid}.json", build(board)
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            stale.append(path.name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.exit(f"{', '.join(stale)}: not current; run `python tools/dashboards/write.py`")


if __name__ == "__main__":
    main()
