"""Are there enough workers, and are they used well?"""

from boards.common import workers
from palette import BLUE, FLEET, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from panels import DATASOURCE, bars, dashboard, limits, row, stat, table, timeseries
from promql import WINDOW, mean, quantile, rate, ratio, same, series, total

REASONS = {"full": GREEN, "idle": SKY, "delay": PURPLE, "deadline": ORANGE}
# Images that the batches of an instance had room for.
ROOM = (f"{total(rate('shoal_worker_batch_images_count'), 'instance')} * on (instance) "
        f"max by (instance) ({series('shoal_worker_batch_max_images')})")
WANTED = same("shoal_fleet_workers_wanted", "model")

# A change of what is wanted is a decision. Annotations know no $__rate_interval.
DECISIONS = {
    "name": "Decisions",
    "datasource": DATASOURCE,
    "enable": True,
    "hide": False,
    "iconColor": BLUE,
    "expr": f"{WANTED} != max by (model) ({series('shoal_fleet_workers_wanted')} offset 15s)",
    "step": "15s",
    "titleFormat": "Workers wanted changed",
    "tagKeys": "model",
    "textFormat": "",
    "useValueForTime": False,
}


def of_workers(name):
    """A metric that every process has: only the workers'."""
    return series(name) + " and on (job, instance) " + series("shoal_worker_slots")


DASHBOARD = dashboard("shoal-workers", "Shoal / Workers & scaling",
                      "Are there enough workers, and are they used well?", [
    row(
        "Now",
        stat("Ready", "Workers that take jobs.", "short",
             [(f"sum({series('shoal:workers:ready')}) or vector(0)", "ready")], size=(4, 4)),
        stat("Wanted", "What the supervisors are told to run.", "short", [(f"sum({WANTED}) or vector(0)", "wanted")],
             size=(4, 4)),
        stat("Images", "Images a second that sessions ran.", "ops",
             [(total(rate("shoal_worker_images_total")), "images")], size=(4, 4)),
        stat("Slots", "Share of the jobs that workers may hold and do.", "percentunit",
             [(ratio(total(series("shoal_worker_slots_busy")), total(series("shoal_worker_slots"))), "held")],
             size=(4, 4)),
        stat("Memory", "Resident memory of all workers.", "bytes",
             [(f"sum({of_workers('process_resident_memory_bytes')}) or vector(0)", "memory")], size=(4, 4)),
        stat("Failures", "Runs of a session that failed, a second.", "ops",
             [(total(rate("shoal_worker_session_failures_total")), "failures")], size=(4, 4), steps=limits(0.001, 0.1)),
    ),
    row(
        "Scaling",
        timeseries("Ready and wanted", "By model; vertical lines are changes of what is wanted. Recommended: if nothing "
                   "were in the way.", "short",
                   [(same("shoal_fleet_workers", "model, state", state="ready"), "{{model}} ready"),
                    (WANTED, "{{model}} wanted"),
                    (same("shoal_fleet_workers_recommended", "model"), "{{model}} recommended"),
                    (same("shoal_fleet_workers", "model, state", state="draining"), "{{model}} draining")],
                   size=(9, 8), palette={f"/ {state}$/": colour for state, colour in FLEET.items()}),
        timeseries("Decisions", "What the policy did; `shoal fleet explain` has the reasons.", "short",
                   [(f"max by (model, action) (increase({series('shoal_fleet_decisions_total')}[{WINDOW}]))",
                     "{{model}} {{action}}")], size=(7, 8)),
        workers(),
    ),
    row(
        "How busy",
        timeseries("Sessions busy", "Share of a worker's compute in use.", "percentunit",
                   [(rate("shoal_worker_session_busy_seconds_total"), "{{instance}}")], top=1, line=0.85),
        timeseries("Decode threads busy", "Share of a worker's decode threads in use.", "percentunit",
                   [(rate("shoal_worker_decode_busy_seconds_total") + " / " + series("shoal_worker_decode_threads"),
                     "{{instance}}")], top=1, line=0.85),
        timeseries("Slots", "Jobs that a worker holds; dashed is what all of them may.", "short",
                   [(series("shoal_worker_slots_busy"), "{{instance}}"),
                    (total(series("shoal_worker_slots")), "all slots")], limit="all slots"),
    ),
    row(
        "Batches",
        timeseries("Images a second", "What each worker's sessions ran.", "ops",
                   [(rate("shoal_worker_images_total"), "{{instance}}")], size=(6, 8), stack="normal"),
        timeseries("Batch size", "Images in one run of a session; dashed is the most a worker takes.", "short",
                   [(mean("shoal_worker_batch_images"), "mean"),
                    (quantile(0.95, "shoal_worker_batch_images"), "p95"),
                    (f"max({series('shoal_worker_batch_max_images')}) or vector(0)", "most")],
                   size=(6, 8), palette={"mean": GREEN, "p95": BLUE}, limit="most"),
        timeseries("Batch fill", "Mean batch of what a batch may be. Low is good for latency while sessions have room.",
                   "percentunit",
                   [(ratio(total(rate("shoal_worker_batch_images_sum"), "instance"), ROOM), "{{instance}}")],
                   size=(6, 8), top=1),
        timeseries("Why batches close", "full: no more fits; idle: nothing else was there; delay: waited long enough; deadline: an image could not wait.",
                   "ops", [(total(rate("shoal_worker_batches_total"), "reason"), "{{reason}}")], size=(6, 8),
                   stack="percent", palette=REASONS),
    ),
    row(
        "Trouble",
        timeseries("Repeats and failures", "Jobs got again, given back, not cached, and session runs that failed.",
                   "ops",
                   [(total(rate("shoal_worker_redelivered_total")), "redelivered"),
                    (total(rate("shoal_worker_retries_total")), "given back"),
                    (total(rate("shoal_worker_cache_write_failures_total")), "not cached"),
                    (total(rate("shoal_worker_session_failures_total")), "session failed")],
                   palette={"redelivered": ORANGE, "given back": SKY, "not cached": GREY, "session failed": VERMILION}),
        timeseries("Memory", "Resident memory by worker.", "bytes",
                   [(of_workers("process_resident_memory_bytes"), "{{instance}}")]),
        timeseries("Open files", "File descriptors by worker.", "short",
                   [(of_workers("process_open_fds"), "{{instance}}")]),
    ),
    row(
        "What they are",
        bars("Startup", "From a worker's start to its first job; the model's loading is part of it.", "s",
             [(series("shoal_worker_startup_seconds"), "{{instance}}"),
              (series("shoal_worker_model_load_seconds"), "{{instance}} model")]),
        bars("Time per image", "In a full batch, measured at the start.", "s",
             [(series("shoal_worker_image_seconds"), "{{instance}}")]),
        table("Models", "What each worker runs.", "short", [(series("shoal_worker_model_info"), "model")],
              sort="instance",
              columns={"instance": "Worker", "model": "Model", "precision": "Precision", "digest": "Digest"}),
    ),
], part="worker", annotations=[DECISIONS])
