"""One colour for one meaning, on every dashboard. Okabe and Ito's palette, told apart by colour-blind people too."""

ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#999999"

GOOD, WARN, BAD = GREEN, ORANGE, VERMILION

RESOURCES = {"gateway": BLUE, "broker": PURPLE, "decode": ORANGE, "inference": GREEN, "cpu": VERMILION}

# Stages in the order in which a request passes them. The hue says whose they are, as in RESOURCES; the shade which.
STAGES = {
    "receive": "#004C78",
    "hash": BLUE,
    "cache": SKY,
    "join": "#A6D8F5",
    "publish": "#8F3F6C",
    "queue": PURPLE,
    "fetch": YELLOW,
    "decode": ORANGE,
    "batch_wait": "#7FD1B9",
    "infer": GREEN,
    "store": "#E3AFCB",
    "reply": "#B0568A",
    "respond": "#2F8FC6",
}

CACHE = {"hit": SKY, "shared": BLUE, "coalesced": PURPLE, "miss": ORANGE}
LANES = {"interactive": SKY, "bulk": ORANGE}
STATES = {"waiting": ORANGE, "in_flight": SKY, "redelivered": VERMILION}
QUANTILES = {"p50": SKY, "p95": BLUE, "p99": PURPLE}
FLEET = {"ready": GREEN, "wanted": BLUE, "draining": GREY}

# The answers of the attribution rule: colour, and what to do.
BOTTLENECKS = {
    "none": (GREEN, "Nothing: it keeps up"),
    "gateway": (BLUE, "Gateway: add another one"),
    "broker": (PURPLE, "Broker: look at NATS' disk and network"),
    "decode": (ORANGE, "Decoding: more decode threads, or smaller images"),
    "inference": (SKY, "Inference: CPU is full, another worker will not help"),
    "workers": (YELLOW, "Too few workers: add one"),
    "cpu": (VERMILION, "CPU is full: fewer session threads, or another host"),
}
