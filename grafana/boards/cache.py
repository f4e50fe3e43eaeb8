"""Is work being saved?"""

from boards.common import requests_by_cache
from palette import BLUE, CACHE, GREEN, ORANGE, PURPLE, SKY
from panels import dashboard, row, stat, timeseries
from promql import rate, ratio, series, total

ANSWERED = total(rate("shoal_gateway_predictions_total"))
SAVED = "shoal_gateway_cache_saved_inference_seconds_total"
STREAM = "CACHE"


def share(*sources):
    pattern = "~" + "|".join(sources)
    return ratio(total(rate("shoal_gateway_predictions_total", cache=pattern)), ANSWERED)


DASHBOARD = dashboard("shoal-cache", "Shoal / Cache", "Is work being saved, and where?", [
    row(
        "Now",
        stat("Hit ratio", "Predictions that no worker had to compute.", "percentunit",
             [(share("hit", "shared", "coalesced"), "hit ratio")], size=(6, 4)),
        stat("Cores saved", "Inference seconds a second that did not have to be spent.", "none",
             [(total(rate(SAVED)), "cores")], size=(6, 4)),
        stat("Saved in the time shown", "Inference time that did not have to be spent.", "s",
             [(f"sum(increase({series(SAVED)}[$__range])) or vector(0)", "saved")], size=(6, 4), graph=False),
        stat("Entries", "Predictions in the gateways' memory.", "short",
             [(total(series("shoal_gateway_cache_entries")), "entries")], size=(6, 4)),
    ),
    row(
        "Where answers come from",
        timeseries("Hit ratio by tier", "Share of predictions; what is left to 100 % a worker computed.", "percentunit",
                   [(share(source), source) for source in ("hit", "shared", "coalesced")], size=(8, 9),
                   stack="normal", palette=CACHE, top=1),
        requests_by_cache(size=(8, 9)),
        timeseries("Inference saved", "Inference seconds a second that did not have to be spent: cores.", "none",
                   [(total(rate(SAVED)), "saved")], size=(8, 9), palette={"saved": GREEN}),
    ),
    row(
        "Memory of the gateways",
        timeseries("Entries", "Predictions in memory, by gateway.", "short",
                   [(series("shoal_gateway_cache_entries"), "{{instance}}")]),
        timeseries("Bytes", "Memory that they take, by gateway.", "bytes",
                   [(series("shoal_gateway_cache_bytes"), "{{instance}}")]),
        timeseries("Evictions and negative hits",
                   "Predictions dropped for want of room, and uploads refused because the same bytes were no image a "
                   "moment ago.",
                   "ops", [(total(rate("shoal_gateway_cache_evictions_total")), "evicted"),
                           (total(rate("shoal_gateway_cache_negative_hits_total")), "negative hit")],
                   palette={"evicted": ORANGE, "negative hit": PURPLE}),
    ),
    row(
        "Shared by all gateways",
        timeseries("Size", "Bytes of predictions, against the stream's limit. When it is full the oldest go.", "bytes",
                   [(f"max({series('shoal_stream_bytes', stream=STREAM)}) or vector(0)", "used"),
                    (f"max({series('shoal_stream_max_bytes', stream=STREAM)}) or vector(0)", "limit")],
                   palette={"used": BLUE}, limit="limit"),
        timeseries("Predictions kept", "Predictions in the stream.", "short",
                   [(f"max({series('shoal_stream_messages', stream=STREAM)}) or vector(0)", "entries")],
                   palette={"entries": BLUE}),
        timeseries("Writes", "Predictions a second that came into the stream.", "ops",
                   [(f"max({rate('shoal_stream_published_total', stream=STREAM)}) or vector(0)", "written")],
                   palette={"written": SKY}),
    ),
], part="gateway")
