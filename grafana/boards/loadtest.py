"""A load test, everything on one time axis."""

from boards.common import (
    bottleneck_timeline, depth, headroom, latency, requests_by_cache, saturation, trouble, workers,
)
from palette import BAD, BLUE, GREY, PURPLE, WARN
from panels import dashboard, row, timeseries
from promql import rate, series, total

# `loadtest` is the tag of the annotations that a run leaves in Grafana, one a phase.
PHASES = {
    "name": "Load test phases",
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": False,
    "iconColor": PURPLE,
    "target": {"limit": 100, "matchAny": True, "tags": ["loadtest"], "type": "tags"},
}

STATUS = {"2xx": "~2..", "4xx": "~4([013-9].|2[0-8])", "429": "429", "5xx": "~5.."}


def answered(status):
    return total(rate("shoal_gateway_requests_total", route="~/predict|/jobs", status=status))


DASHBOARD = dashboard("shoal-loadtest", "Shoal / Load test",
                      "A run on one time axis. Its phases are Grafana annotations with the tag loadtest.", [
    row("What limited it", bottleneck_timeline()),
    row(
        "What came in, and what came back",
        timeseries("Requests by status", "Answers a second on /predict and /jobs.", "reqps",
                   [(answered(status), name) for name, status in STATUS.items()], size=(12, 9), stack="normal",
                   palette={"2xx": BLUE, "4xx": GREY, "429": WARN, "5xx": BAD}, calcs=("mean", "max")),
        latency(size=(12, 9)),
        trouble(size=(12, 9)),
        requests_by_cache(size=(12, 9)),
    ),
    row(
        "What it did to the fleet",
        depth(size=(12, 9)),
        timeseries("Queue wait", "How long a new job would wait, by model.", "s",
                   [(series("shoal:queue:wait_seconds"), "{{model}}")], size=(12, 9)),
        workers(size=(12, 9)),
        saturation(size=(12, 9)),
        headroom(size=(12, 9)),
        timeseries("Uploads held", "Bytes of uploads in the gateways.", "bytes",
                   [(series("shoal_gateway_in_flight_bytes"), "{{instance}}")], size=(12, 9)),
    ),
], annotations=[PHASES], window="now-15m")
