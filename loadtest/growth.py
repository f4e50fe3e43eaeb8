#!/usr/bin/env python3
"""How throughput and latency move as something grows: connections, images, workers, the backlog, gateways, what has been.

Writes docs/growth.{md,json} and one plot each. The loop is closed: so many connections, each with one request at a
time, so p99 is what such a user waits, and throughput is what comes out. Every body differs. The generator runs on the
same cores. Also what the fleet takes in memory at a thousand connections, and how soon it is ready.

    make growth                                 about 8 minutes, 14 at most
    SECONDS_EACH=1 DOCS=/tmp/x make growth      a rehearsal, written elsewhere
    ONLY=workers,backlog make growth            some; written elsewhere too, or the page would have holes
"""
import collections
import contextlib
import json
import os
import pathlib
import resource
import shutil
import socket
import tempfile
import threading
import time

import plot
import rig
from rig import BIN, output

SECONDS = float(os.environ.get("SECONDS_EACH", "5"))
ONLY = [name for name in os.environ.get("ONLY", "").split(",") if name]
DOCS = pathlib.Path(os.environ.get("DOCS", rig.ROOT / "docs"))
PORT = 8914
# No part begins once this many seconds are over.
MOST_SECONDS = float(os.environ.get("MOST_SECONDS", "780"))
# Seconds in which the backlog must be there.
FILLING = 90
CONNECTIONS = [1, 8, 64, 256, 1000]
# Width, height, bytes.
IMAGES = [(160, 120, 10_000), (500, 375, 58_000), (1200, 900, 300_000), (2000, 1500, 1_000_000), (2800, 2100, 2_500_000),
          (4000, 3000, 5_000_000)]
WORKERS = [1, 2, 4, 8]
BACKLOG = [0, 1_000, 10_000, 100_000]
GATEWAYS = [1, 2, 3]
# Runs of three times the usual length, one after the other on the same fleet.
LONG_RUNS = 6
# Sessions, threads of each, batch, decode threads.
SHAPES = [(rig.CORES, 1, 4, rig.CORES), (rig.CORES, 1, 2, rig.CORES), (1, rig.CORES, 8, rig.CORES)]
DIGITS, RESNET = "digits", "resnet50-synth-int8"
# A model that nobody serves: its jobs stay.
IDLE = "nobody"


def measured(step, run):
    keys = ("requests_per_second", "p50_ms", "p99_ms", "outcomes", "generator_cores")
    row = {"step": step, **{key: run[key] for key in keys}}
    print(f"  {step}: {run['requests_per_second']:.0f} requests/s, p99 {run['p99_ms']:.1f} ms, {run['outcomes']}", flush=True)
    return row


def connections(work, small):
    """Until a thousand; with the memory of gateway and worker while a thousand are there."""
    rows = []
    with rig.fleet(work, DIGITS, PORT) as fleet:
        rig.load(fleet.url, small, 64, SECONDS)
        for count in CONNECTIONS:
            watch = Memory(fleet)
            # A refusal is an answer: the queue has a bound, and says so.
            run = rig.load(fleet.url, small, count, SECONDS, accept=("ok", "refused"))
            rows.append({**measured(f"{count:,}", run), **watch.stop()})
    return rows


class Memory:
    """The most that gateway and workers had in use, looked at four times a second."""

    def __init__(self, fleet):
        self.pids, self.most, self.over = fleet.pids(), {}, threading.Event()
        # A measurement that fails must not wait for it.
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.over.wait(0.25):
            for part in ("gateway", "worker"):
                # One that has ended is missed by the load, not here.
                with contextlib.suppress(OSError):
                    now = max(rig.memory_mb(pid) for pid in self.pids[part])
                    self.most[f"{part}_mb"] = max(self.most.get(f"{part}_mb", 0), now)

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.most


def images(work, photos):
    """Beside what one process does that decodes and infers and nothing else, in the best of a few shapes."""
    rows = []
    limits = {label: max(limit(work, photo, shape) for shape in SHAPES) for label, photo in photos}
    with rig.fleet(work, RESNET, PORT) as fleet:
        rig.load(fleet.url, photos[1][1], 8, SECONDS)
        for label, photo in photos:
            row = measured(label, rig.load(fleet.url, photo, 8, SECONDS))
            rows.append({**row, "limit": limits[label]})
    return rows


def limit(work, photo, shape):
    return float(output(BIN / "examples/limit", RESNET, work / "models", photo, SECONDS, *shape, "cpu"))


def workers(work, photo):
    rows = []
    for count in WORKERS:
        with rig.fleet(work, RESNET, PORT, workers=count) as fleet:
            rig.load(fleet.url, photo, 16, min(SECONDS, 2))
            rows.append(measured(str(count), rig.load(fleet.url, photo, 16, SECONDS)))
    return rows


def backlog(work, small):
    """Jobs of a model that nobody serves wait in the same stream: what does its length cost?"""
    rows, body = [], small.read_bytes()
    with rig.fleet(work, DIGITS, PORT) as fleet:
        output(BIN / "shoal", "provision", "--model", IDLE, "--nats-url", fleet.nats)
        rig.load(fleet.url, small, 64, SECONDS)
        for count in BACKLOG:
            fill(fleet.nats, body, count)
            row = measured(f"{count:,}", rig.load(fleet.url, small, 64, SECONDS))
            rows.append({**row, "nats_mb": server_mb(fleet)})
    return rows


def server_mb(fleet):
    return sum(rig.memory_mb(pid) for pid in fleet.pids()["nats-server"])


def fill(nats, body, count):
    """Until so many jobs wait: a stream takes a plain publish when it gets to it, and drops one when it has too many to take."""
    patience = time.monotonic() + FILLING
    before = None
    while (waiting := stream_messages(nats)) < count:
        if time.monotonic() > patience:
            raise SystemExit(f"{waiting} jobs wait instead of {count}")
        # What is still on its way is not sent again.
        if waiting == before:
            publish(nats, f"jobs.{IDLE}.bulk", body, count - waiting)
        before = waiting
        time.sleep(0.1)


def publish(url, subject, body, count):
    """Plain NATS: the stream takes what its subject is published with."""
    host, port = url.removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        wire = connection.makefile("rwb")
        wire.readline()
        wire.write(b'CONNECT {"verbose":false,"pedantic":false}\r\n')
        message = f"PUB {subject} {len(body)}\r\n".encode() + body + b"\r\n"
        for begun in range(0, count, 1000):
            wire.write(message * min(1000, count - begun) + b"PING\r\n")
            wire.flush()
            # A server that asks is answered; its own answer says that it has read everything so far.
            while (line := wire.readline()) != b"PONG\r\n":
                if line == b"PING\r\n":
                    wire.write(b"PONG\r\n")
                elif not line or line.startswith(b"-ERR"):
                    raise SystemExit(f"NATS: {line.decode()}")


def stream_messages(url):
    """Messages in the stream of jobs, as the broker's own API says."""
    host, port = url.removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        wire = connection.makefile("rwb")
        wire.write(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB here 1\r\nPUB $JS.API.STREAM.INFO.JOBS here 0\r\n\r\n')
        wire.flush()
        while not (line := wire.readline()).startswith(b"MSG"):
            if not line:
                raise SystemExit("NATS closed the connection")
        return json.loads(wire.read(int(line.split()[-1])))["state"]["messages"]


def gateways(work, small):
    """One generator for each, at the same time; the p99 is that of the slowest."""
    rows = []
    with rig.fleet(work, DIGITS, PORT) as fleet, contextlib.ExitStack() as stack:
        urls = [fleet.url]
        for count in GATEWAYS:
            while len(urls) < count:
                urls.append(more_gateway(stack, work, fleet.nats, PORT + len(urls)))
            rig.load(urls[-1], small, 8, min(SECONDS, 2))
            runs = [None] * count

            def ask(index):
                runs[index] = rig.load(urls[index], small, 64 // count, SECONDS)

            threads = [threading.Thread(target=ask, args=(index,), daemon=True) for index in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            together = max(runs, key=lambda run: run["p99_ms"])
            outcomes = sum((collections.Counter(run["outcomes"]) for run in runs), collections.Counter())
            together = {**together, "outcomes": dict(outcomes), "requests_per_second": sum(run["requests_per_second"] for run in runs),
                        "generator_cores": sum(run["generator_cores"] for run in runs)}
            rows.append(measured(str(count), together))
    return rows


def more_gateway(stack, work, nats, port):
    command = [BIN / "shoal-gateway", "--listen", f"127.0.0.1:{port}", "--nats-url", nats, "--default-model", DIGITS]
    stack.enter_context(rig.running(command, work / f"gateway-{port}.log", lambda log: "gateway listening" in log))
    return f"http://127.0.0.1:{port}"


def predictions(work, small):
    """Nobody asks twice: every prediction is kept, until the shared cache is full and every one drives out another."""
    rows, so_far = [], 0
    with rig.fleet(work, DIGITS, PORT) as fleet:
        for _ in range(LONG_RUNS):
            run = rig.load(fleet.url, small, 64, SECONDS * 3)
            so_far += run["outcomes"]["ok"]
            rows.append({**measured(f"{so_far:,}", run), "nats_mb": server_mb(fleet)})
    return rows


def footprint(work, small):
    """Memory of a fleet with ResNet-50 under a thousand connections, and how soon it is there."""
    found = {"model_mb": (work / "models" / RESNET / "model.onnx").stat().st_size / 1e6}
    shutil.rmtree(work / "models" / ".optimised", ignore_errors=True)
    # Only the first start on a machine optimises the model and measures its sessions.
    for start in ("first", "later"):
        begun = time.monotonic()
        with rig.fleet(work, RESNET, PORT) as fleet:
            found[f"{start}_up_s"] = time.monotonic() - begun
            found[f"{start}_ready_s"] = fleet.worker_metric("shoal_worker_startup_seconds")
            if start == "first":
                continue
            for part in ("gateway", "worker"):
                found[f"{part}_idle_mb"] = max(rig.memory_mb(pid) for pid in fleet.pids()[part])
            watch = Memory(fleet)
            run = rig.load(fleet.url, small, 1000, SECONDS, accept=("ok", "refused"))
            found |= {**watch.stop(), "outcomes": run["outcomes"]}
    print("  ", {key: round(value, 2) if isinstance(value, float) else value for key, value in found.items()}, flush=True)
    return found


# ---- the page ----

PARTS = {
    "connections": "The digit model and a 1 KB image; refusals (`429`) are not counted as throughput.",
    "images": "ResNet-50 int8, 8 connections. Images over 1 MB travel as objects. Beside them: a process that decodes and infers and nothing else.",
    "workers": "ResNet-50 int8, a 58 KB image, 16 connections: workers divide the cores, so more of them on one host gain nothing.",
    "backlog": "The digit model and a 1 KB image, 64 connections, while as many jobs of another model wait in the stream.",
    "gateways": "The digit model and a 1 KB image, 64 connections divided between the gateways, on the same cores.",
    "predictions": "The digit model and a 1 KB image that is different every time, 64 connections, runs one after the other on the same "
                   "fleet: how many images there had been at the end of each. The shared cache holds a million of these predictions.",
}
GATEWAY_CACHE_MB = 64
# Further columns, by what a row has.
MORE = {
    "gateway_mb": {"gateway MB": lambda row: f"{row['gateway_mb']:.0f}", "worker MB": lambda row: f"{row['worker_mb']:.0f}"},
    "limit": {"in one process": lambda row: f"{row['limit']:.0f}", "of that": lambda row: f"{row['requests_per_second'] / row['limit']:.2f}"},
    "nats_mb": {"nats-server MB": lambda row: f"{row['nats_mb']:.0f}"},
    "": {},
}


def page(results):
    text = (f"# Growth\n\n{rig.said(results)}. Runs of {SECONDS:g} s, once each; a closed loop: so many connections with one request at "
            "a time. The generator runs on the same cores. Written by `make growth`.\n")
    for name, about in PARTS.items():
        if name not in results:
            continue
        text += f"\n## {name.capitalize()}\n\n{about}\n\n![Throughput and p99 by {name}](growth-{name}.svg)\n\n"
        more = next(more for key, more in MORE.items() if key in results[name][0] or not key)
        text += f"| {name} | requests/s | p50 ms | p99 ms | outcomes |" + "".join(f" {title} |" for title in more)
        text += "\n" + "| --- " * (5 + len(more)) + "|\n"
        for row in results[name]:
            outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in row["outcomes"].items())
            cells = "".join(f" {cell(row)} |" for cell in more.values())
            text += f"| {row['step']} | {row['requests_per_second']:.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {outcomes} |{cells}\n"
    if "footprint" in results:
        text += footprint_text(results["footprint"])
    return text


def footprint_text(found):
    worker_bound = 2.5 * found["model_mb"] + 100
    rows = [
        ("gateway at 1,000 connections", f"{found['gateway_mb']:.0f} MB (idle {found['gateway_idle_mb']:.0f})",
         f"{100 + GATEWAY_CACHE_MB} MB: 100 beyond its cache's {GATEWAY_CACHE_MB}"),
        ("worker at 1,000 connections", f"{found['worker_mb']:.0f} MB (idle {found['worker_idle_mb']:.0f})",
         f"{worker_bound:.0f} MB: 2.5 times the model's {found['model_mb']:.0f} and 100"),
        ("worker's start until it is ready", f"{found['later_ready_s']:.2f} s; for the first time {found['first_ready_s']:.2f} s", "2 s"),
        ("`shoal up` until all are ready", f"{found['later_up_s']:.2f} s; for the first time {found['first_up_s']:.2f} s", "3 s"),
    ]
    text = "\n## Footprint\n\nResNet-50 int8, one worker with all cores; a 1 KB image; memory as PSS.\n\n| what | measured | wanted at most |\n| --- | --- | --- |\n"
    return text + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def draw(name, rows):
    labels = [row["step"] for row in rows]
    return plot.steps(name, labels, [("requests/s", [row["requests_per_second"] for row in rows]), ("p99, ms", [row["p99_ms"] for row in rows])])


def main():
    rig.build()
    if ONLY and "DOCS" not in os.environ:
        raise SystemExit("ONLY needs DOCS=FOLDER: the page would have holes")
    # A thousand connections and their other ends.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard == resource.RLIM_INFINITY else min(hard, 65_536), hard))
    begun, results = time.monotonic(), rig.provenance()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        small = rig.photograph(work / "1k.jpg", 32, 32, 1_000)
        photos = []
        for width, height, size in IMAGES:
            photo = rig.photograph(work / f"{width}.jpg", width, height, size)
            photos.append((f"{photo.stat().st_size / 1000:,.0f} KB, {width * height / 1e6:.1f} MP", photo))
        output(BIN / "shoal", "models", "synth", "resnet50", "--int8", "--models-dir", work / "models")
        fresh = work / "fresh"
        fresh.mkdir()
        parts = [("connections", connections, small), ("footprint", footprint, small), ("images", images, photos),
                 ("workers", workers, photos[1][1]), ("backlog", backlog, small), ("gateways", gateways, small),
                 ("predictions", lambda _, image: predictions(fresh, image), small)]
        for name, measure, image in parts:
            if (ONLY and name not in ONLY) or time.monotonic() - begun > MOST_SECONDS:
                print(f"left out: {name}", flush=True)
                continue
            print(name, flush=True)
            results[name] = measure(work, image)
    DOCS.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if name in results:
            (DOCS / f"growth-{name}.svg").write_text(draw(name, results[name]))
    (DOCS / "growth.json").write_text(json.dumps(results, indent=1) + "\n")
    (DOCS / "growth.md").write_text(page(results))
    print(page(results))
    print(f"took {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
