"""What waits, for how long, and what came of it?"""

from palette import BAD, BLUE, GREY, LANES, ORANGE, PURPLE, SKY, VERMILION
from panels import bars, dashboard, limits, row, stat, table, thresholds, timeseries
from promql import rate, same, series, total

SHADES = {f"/{lane}/": colour for lane, colour in LANES.items()}
STREAMS = {"JOBS": ORANGE, "RESULTS": SKY, "DEAD": VERMILION, "CACHE": BLUE, "OBJ_shoal_uploads": PURPLE}
BYTES = same("shoal_stream_bytes", "stream")
MAX_BYTES = same("shoal_stream_max_bytes", "stream")
DELIVERED = f"max by (model, lane) ({rate('shoal_queue_delivered_total')})"
PUBLISHED = f"max by (stream) ({rate('shoal_stream_published_total')})"


def jobs(state):
    return f"sum({same('shoal_queue_jobs', 'model, lane', state=state)}) or vector(0)"


DASHBOARD = dashboard("shoal-queue", "Shoal / Queue", "What waits, for how long, and what came of it.", [
    row(
        "Now",
        stat("Waiting", "Jobs that no worker has yet.", "short", [(jobs("waiting"), "waiting")], size=(4, 4)),
        stat("Wait", "How long a new job would wait, for the model that is worst off.", "s",
             [(f"max({series('shoal:queue:wait_seconds')}) or vector(0)", "wait")], size=(4, 4), steps=limits(5, 30)),
        stat("Oldest job", "Age of the oldest job that has not ended.", "s",
             [(f"max({same('shoal_queue_oldest_job_seconds', 'model, lane')}) or vector(0)", "oldest")], size=(4, 4),
             steps=limits(60, 3600)),
        stat("In flight", "Jobs in workers' hands.", "short", [(jobs("in_flight"), "in flight")], size=(4, 4)),
        stat("Redelivered", "Jobs in workers' hands that had been there before.", "short",
             [(jobs("redelivered"), "redelivered")], size=(4, 4), steps=limits(1, 100)),
        stat("Dead letters", "Jobs that were given up and wait for a decision: `shoal dead list`.", "short",
             [(f"max({series('shoal_stream_messages', stream='DEAD')}) or vector(0)", "dead")], size=(4, 4),
             steps=thresholds((1, BAD))),
    ),
    row(
        "Depth and age",
        timeseries("Waiting by lane and model", "Jobs that no worker has yet.", "short",
                   [(same("shoal_queue_jobs", "model, lane", state="waiting"), "{{model}} {{lane}}")],
                   stack="normal", palette=SHADES),
        timeseries("Wait", "How long a new job would wait: what is ahead over the rate at which it is worked off.", "s",
                   [(series("shoal:queue:wait_seconds"), "{{model}}")]),
        timeseries("Oldest job", "Age of the oldest job that has not ended.", "s",
                   [(same("shoal_queue_oldest_job_seconds", "model, lane"), "{{model}} {{lane}}")], palette=SHADES),
    ),
    row(
        "Deliveries",
        timeseries("In flight", "Jobs in workers' hands.", "short",
                   [(same("shoal_queue_jobs", "model, lane", state="in_flight"), "{{model}} {{lane}}")],
                   stack="normal", palette=SHADES),
        timeseries("Deliveries", "Jobs a second that the broker hands out, repeated ones included.", "ops",
                   [(DELIVERED, "{{model}} {{lane}}")], stack="normal", palette=SHADES),
        timeseries("Repeated deliveries",
                   "Jobs a second that a worker got for the second time or later, and that workers gave back for "
                   "another attempt.",
                   "ops", [(total(rate("shoal_worker_redelivered_total")), "redelivered"),
                           (total(rate("shoal_worker_retries_total")), "given back")],
                   palette={"redelivered": VERMILION, "given back": ORANGE}),
    ),
    row(
        "How jobs end",
        timeseries("Outcomes", "Jobs a second that ended without a prediction, by why.", "ops",
                   [(total(rate("shoal_worker_jobs_total", outcome="!prediction"), "outcome"), "{{outcome}}")],
                   size=(8, 9)),
        timeseries("Expired, cancelled, late",
                   "Jobs whose deadline passed before they ran, that were cancelled, and answers nobody waited for any "
                   "more.",
                   "ops", [(total(rate("shoal_worker_jobs_total", outcome="deadline_exceeded")), "expired"),
                           (total(rate("shoal_worker_jobs_total", outcome="cancelled")), "cancelled"),
                           (total(rate("shoal_gateway_late_answers_total")), "late answer")],
                   size=(8, 9), palette={"expired": VERMILION, "cancelled": GREY, "late answer": PURPLE}),
        timeseries("Dead letters", "Jobs that were given up and are kept.", "short",
                   [(f"max({series('shoal_stream_messages', stream='DEAD')}) or vector(0)", "kept")], size=(8, 9),
                   palette={"kept": VERMILION}),
    ),
    row(
        "Streams",
        bars("Filled", "Bytes of what a stream may hold; 0 without a limit. The cache is meant to be full.",
             "percentunit", [(f"{BYTES} / ({MAX_BYTES} > 0) or {BYTES} * 0", "{{stream}}")], top=1,
             steps=limits(0.8, 0.95)),
        timeseries("Bytes by stream", "What streams and buckets hold.", "bytes", [(BYTES, "{{stream}}")],
                   palette=STREAMS),
        timeseries("Storage", "File storage that JetStream uses, against what it may (0: no limit).", "bytes",
                   [(f"max({series('shoal_jetstream_bytes')}) or vector(0)", "used"),
                    (f"clamp_min(max({series('shoal_jetstream_max_bytes')}) or vector(0), 0)", "allowed")],
                   palette={"used": BLUE}, limit="allowed"),
        timeseries("Published by stream", "Messages a second.", "ops", [(PUBLISHED, "{{stream}}")], size=(12, 8),
                   palette=STREAMS),
        table("Streams now", "Messages, bytes and limits; a limit of 0 is none.", "short",
              [(same("shoal_stream_messages", "stream"), "messages"), (BYTES, "bytes"), (MAX_BYTES, "limit")],
              size=(12, 8), sort="stream", units={"Bytes": "bytes", "Limit": "bytes"},
              columns={"stream": "Stream", "Value #A": "Messages", "Value #B": "Bytes", "Value #C": "Limit"}),
    ),
])
