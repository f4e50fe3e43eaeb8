"""Panels that more than one dashboard shows."""

from palette import BAD, BOTTLENECKS, CACHE, FLEET, QUANTILES, RESOURCES, STATES, WARN
from panels import stat, timeline, timeseries
from promql import quantile, rate, same, series, total

# The recorded answer is a label; panels map numbers to colours and words.
BOTTLENECK = "max(" + " or ".join(
    f"{series('shoal:bottleneck', name=name)} * {number}" for number, name in enumerate(BOTTLENECKS)) + ")"


def mappings(words):
    """The number of an answer to its words."""
    return [{"type": "value", "options": {
        str(number): {"index": number, "color": colour, "text": advice if words else name}
        for number, (name, (colour, advice)) in enumerate(BOTTLENECKS.items())
    }}]


def bottleneck(size=(9, 6)):
    link = {"title": "Pipeline", "url": "/d/shoal-pipeline?${__url_time_range}", "targetBlank": False}
    return stat("Bottleneck",
                "What limits the fleet over the last minute, and what helps. `shoal why` says it with reasons.",
                "none", [(BOTTLENECK, "bottleneck")], size=size, mappings=mappings(words=True), graph=False, font=22,
                links=[link])


def bottleneck_timeline(size=(24, 4)):
    return timeline("Bottleneck over time", "The same answer, over the time shown.", [(BOTTLENECK, "bottleneck")],
                    mappings(words=False), size=size)


def requests_by_cache(size=(8, 8)):
    query = total(rate("shoal_gateway_predictions_total"), "cache")
    return timeseries("Predictions by where they come from",
                      "Answers a second: hit is the gateway's memory, shared the bucket of all gateways, coalesced "
                      "somebody else's computation, miss a worker.",
                      "reqps", [(query, "{{cache}}")], size=size, stack="normal", palette=CACHE,
                      calcs=("lastNotNull", "mean", "max"))


def latency(size=(8, 8)):
    queries = [(quantile(q, "shoal_gateway_request_seconds", route="/predict"), name)
               for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))]
    return timeseries("Latency of /predict",
                      "From a request's head to its answer, all gateways together. Estimated from buckets in steps of "
                      "about two.",
                      "s", queries, size=size, palette=QUANTILES)


def trouble(size=(8, 8)):
    def answered(status):
        return total(rate("shoal_gateway_requests_total", route="~/predict|/jobs", status=status))

    queries = [
        (answered("500"), "500 ours"),
        (answered("503"), "503 no worker or no NATS"),
        (answered("504"), "504 deadline passed"),
        (answered("~4([013-9].|2[0-8])"), "4xx the client's"),
        (total(rate("shoal_gateway_refused_total"), "bound"), "429 {{bound}}"),
    ]
    palette = {"500 ours": BAD, "503 no worker or no NATS": "#A34700", "504 deadline passed": "#F5B78E",
               "4xx the client's": "#999999", "/^429/": WARN}
    return timeseries("Errors and refusals",
                      "Answers a second that are no prediction. A 429 is a refusal at the door, by the bound that "
                      "would be broken: it says when to come back and is no error.",
                      "reqps", queries, size=size, palette=palette)


def saturation(size=(8, 8)):
    return timeseries("Saturation by resource",
                      "Busy time over capacity, over a minute; the line is where a resource counts as saturated (CPU: "
                      "0.9). The broker's is its share of a request's time.",
                      "percentunit", [(series("shoal:saturation:ratio"), "{{resource}}")], size=size,
                      palette=RESOURCES, top=1, line=0.85)


def depth(size=(8, 8)):
    query = f"sum by (state) ({same('shoal_queue_jobs', 'model, lane, state')})"
    return timeseries("Queue depth", "Jobs in the queue, all lanes: waiting, in a worker's hands, and delivered again.",
                      "short", [(query, "{{state}}")], size=size, palette=STATES)


def workers(size=(8, 8)):
    queries = [
        (f"sum({same('shoal_fleet_workers', 'model, state', state='ready')}) or vector(0)", "ready"),
        (f"sum({same('shoal_fleet_workers_wanted', 'model')}) or vector(0)", "wanted"),
    ]
    return timeseries("Workers", "Workers that take jobs, and how many the supervisors are told to run.", "short",
                      queries, size=size, palette=FLEET)


def headroom(size=(8, 8)):
    queries = [(series("shoal:requests:rate"), "requests"), (series("shoal:headroom:rps"), "headroom")]
    return timeseries("Requests and headroom",
                      "Requests a second, and how many more the scarcest resource could carry. Near idle it is a lower "
                      "bound, because the machine's own work counts as the requests'.",
                      "reqps", queries, size=size, palette={"requests": "#0072B2", "headroom": "#009E73"})
