"""Is it well? What do I do now?"""

from boards.common import (
    bottleneck, bottleneck_timeline, depth, headroom, latency, requests_by_cache, saturation, trouble, workers,
)
from palette import BAD, GOOD, WARN
from panels import dashboard, limits, row, stat, thresholds
from promql import same, series

READY = f"sum({series('shoal:workers:ready')}) or vector(0)"
WANTED = f"sum({same('shoal_fleet_workers_wanted', 'model')}) or vector(0)"
NONE_IS_BAD = {"mode": "absolute", "steps": [{"color": BAD, "value": None}, {"color": GOOD, "value": 1}]}

DASHBOARD = dashboard("shoal-overview", "Shoal / Overview", "Is it well, and what is to be done?", [
    row(
        "Is it well?",
        bottleneck(),
        stat("Headroom", "How many more requests a second the scarcest resource could carry.", "reqps",
             [(series("shoal:headroom:rps"), "headroom")]),
        stat("p95", "95 % of /predict are answered within this time.", "s",
             [(series("shoal:latency_seconds:p95"), "p95")], steps=limits(1, 5)),
        stat("Errors", "Share of /predict and /jobs answered 5xx; the objective is 0.1 %.", "percentunit",
             [(series("shoal:errors:ratio"), "errors")], steps=limits(0.001, 0.0144)),
        stat("Queue wait", "How long a new job would wait, for the model that is worst off.", "s",
             [(f"max({series('shoal:queue:wait_seconds')}) or vector(0)", "wait")], steps=limits(5, 30)),
        stat("Workers", "Workers that take jobs, and how many are wanted.", "short",
             [(READY, "ready"), (WANTED, "wanted")], steps=NONE_IS_BAD, graph=False),
    ),
    row(
        "What happened",
        bottleneck_timeline(size=(21, 4)),
        stat("Alerts", "Alerts that fire, information left out. Their runbooks are in docs/runbooks.md.", "short",
             [('sum(ALERTS{alertstate="firing", severity!="info"}) or vector(0)', "firing")], size=(3, 4),
             steps=thresholds((1, WARN)), graph=False),
    ),
    row("Traffic", requests_by_cache(), latency(), trouble()),
    row("Load", depth(), saturation(), workers()),
    row("Room", headroom(size=(24, 7))),
])
