"""Where does the time go?"""

from boards.common import latency, saturation
from palette import BLUE, GREEN, QUANTILES, RESOURCES, SKY, STAGES
from panels import bars, dashboard, row, timeseries
from promql import by_host, mean, quantile, rate, same, series, total

PREDICTIONS = total(rate("shoal_gateway_predictions_total"))
STAGE_SUM = total(rate("shoal_gateway_stage_seconds_sum"), "stage")
SESSION_BUSY = rate("shoal_worker_session_busy_seconds_total")
SESSION_THREADS = series("shoal_worker_session_threads")
HOST_CPU = by_host(rate("shoal_host_cpu_seconds_total"))
HOST_CORES = by_host(series("shoal_host_cpu_cores"))


def stage(name):
    """One query a stage, so that they stack in the order in which a request passes them."""
    seconds = total(rate("shoal_gateway_stage_seconds_sum", stage=name))
    return f"{seconds} / ({PREDICTIONS} > 0) or vector(0)", name


def worker_stage(name):
    return mean("shoal_worker_stage_seconds", stage=name), name


DASHBOARD = dashboard("shoal-pipeline", "Shoal / Pipeline",
                      "Where a request's time goes, and what is in short supply.", [
    row(
        "Where the time goes",
        timeseries("Mean time by stage",
                   "Every stage over all answered predictions: the stack's height is the mean latency. Blue is the "
                   "gateway, purple the broker, orange decoding, green inference.",
                   "s", [stage(name) for name in STAGES], size=(16, 12), stack="normal", palette=STAGES,
                   calcs=("lastNotNull", "mean")),
        bars("Share of the time now", "What each stage is of all the time that requests take.", "percentunit",
             [(f"{total(rate('shoal_gateway_stage_seconds_sum', stage=name))} / ({total(STAGE_SUM)} > 0) or vector(0)",
               name) for name in STAGES], size=(8, 12), palette=STAGES, top=1),
    ),
    row(
        "Tails",
        timeseries("p95 by stage", "95 % of requests that pass a stage leave it within this time.", "s",
                   [(quantile(0.95, "shoal_gateway_stage_seconds", stage=name), name) for name in STAGES], size=(12, 9),
                   palette=STAGES),
        latency(size=(12, 9)),
    ),
    row(
        "What is in short supply",
        saturation(size=(12, 9)),
        timeseries("Busy cores by part",
                   "Cores at work. Host is everything on the machines, Shoal's or not; the dashed line is what there "
                   "is.",
                   "short",
                   [(total(rate("shoal_gateway_busy_seconds_total")), "gateway"),
                    (total(rate("shoal_worker_decode_busy_seconds_total")), "decode"),
                    (total(f"{SESSION_BUSY} * {SESSION_THREADS}"), "inference"),
                    (f"sum(max by (host) ({HOST_CPU})) or vector(0)", "host"),
                    (f"sum(max by (host) ({HOST_CORES})) or vector(0)", "cores")],
                   size=(12, 9), palette={**RESOURCES, "host": "#D55E00"}, limit="cores"),
    ),
    row(
        "Can the numbers be trusted?",
        timeseries("Little's law",
                   "Requests in flight as predicted by rate and latency, over those counted. Far from 1, one of the "
                   "three is measured wrongly, or the load changed within the minute.",
                   "none", [(series("shoal:littles_law:ratio"), "predicted / counted")],
                   palette={"predicted / counted": BLUE}),
        timeseries("Broker round trip", "A request to the JetStream API and its answer, about one a second.", "s",
                   [(quantile(q, "shoal_gateway_broker_seconds"), name) for name, q in (("p50", 0.5), ("p99", 0.99))],
                   palette=QUANTILES),
        timeseries("Waiting for a CPU", "Share of the time in which something that could run did not (PSI some).",
                   "percentunit",
                   [(f"max by (host) ({by_host(rate('shoal_host_cpu_pressure_seconds_total'))})", "{{host}}")], top=1),
    ),
    row(
        "As the workers see it",
        timeseries("Mean time by stage, in workers", "Every settled job, also those that came over NATS.", "s",
                   [worker_stage(name) for name in ("queue", "fetch", "decode", "batch_wait", "infer", "store")],
                   size=(12, 9), stack="normal", palette=STAGES),
        timeseries("In flight", "Predictions that gateways hold, and jobs that workers hold against their slots.",
                   "short",
                   [(total(series("shoal_gateway_in_flight")), "held by gateways"),
                    (f"sum({same('shoal_queue_jobs', 'model, lane', state='in_flight')}) or vector(0)",
                     "delivered by the broker"),
                    (total(series("shoal_worker_slots_busy")), "held by workers"),
                    (total(series("shoal_worker_slots")), "slots")],
                   size=(12, 9), limit="slots",
                   palette={"held by gateways": BLUE, "delivered by the broker": SKY, "held by workers": GREEN}),
    ),
])
