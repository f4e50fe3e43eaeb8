#!/usr/bin/env python3
"""A fleet that scales itself under steps of load: one thread a worker, ResNet-50 with made-up weights.

Writes docs/scaling.svg and prints a table: requests a second, workers, waiting jobs and p95 in each step; what one
worker reaches alone; what the first request after a sleep pays. Nothing is asserted: the numbers go into docs/scaling.md.
"""

import atexit
import json
import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import plot

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
PORT = 18470
URL = f"http://127.0.0.1:{PORT}"
MODEL = "resnet50-synth"
# Users who pause for a second between two requests, and for how long.
STEPS = [(10, 25), (25, 30), (45, 45), (60, 30), (0, 100)]
CONFIG = "[worker]\nthreads = 1\n"


class Fleet:
    """`shoal up` in a folder of its own."""

    def __init__(self, folder, *args, model=MODEL):
        config = folder / "shoal.toml"
        config.write_text(CONFIG)
        command = [BIN / "shoal", "up", "--model", model, "--port", str(PORT), "--nats-port", "0", "--data-dir", folder,
                   "--config", config, *args]
        self.out = open(folder / "up.log", "w")
        self.process = subprocess.Popen(command, stdout=self.out, stderr=self.out)
        atexit.register(self.process.terminate)
        while not (folder / "up.log").read_text().count("Shoal is ready"):
            assert self.process.poll() is None, (folder / "up.log").read_text()
            time.sleep(0.05)
        self.nats = next(line.split()[1] for line in (folder / "up.log").read_text().splitlines() if " NATS " in line)

    def shoal(self, *args):
        return subprocess.run([BIN / "shoal", *args, "--nats-url", self.nats], capture_output=True, text=True).stdout

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.out.close()


def status():
    with urllib.request.urlopen(f"{URL}/api/status", timeout=5) as answer:
        return json.load(answer)


def load(image, users, seconds, pause="0.9-1.1"):
    return subprocess.Popen(
        [BIN / "shoal-loadtest", "--url", f"{URL}/predict", "--connections", str(users), "--seconds", str(seconds),
         "--image", image, "--unique", "--think", pause, "--json"], stdout=subprocess.PIPE, text=True)


def sample(begun):
    now = status()
    ready = sum(worker["state"] == "ready" for worker in now["workers"])
    jobs = sum(queue["waiting"] + queue["in_flight"] for queue in now["queues"])
    return {"t": time.time() - begun, "rps": sum(now["answered"].values()), "workers": ready, "jobs": jobs}


def steps(image):
    """Runs the steps; samples and a summary for each."""
    samples, table, begun = [], [], time.time()
    for users, seconds in STEPS:
        started = time.time()
        running = load(image, users, seconds) if users else None
        while time.time() < started + seconds:
            samples.append(sample(begun))
            time.sleep(0.5)
        row = {"users": users, "seconds": seconds, "workers": samples[-1]["workers"]}
        if running:
            summary = json.loads(running.communicate()[0])
            row |= {"rps": summary["requests_per_second"], "p50": summary["p50_ms"], "p99": summary["p99_ms"],
                    "outcomes": summary["outcomes"]}
        table.append(row)
        print(row, flush=True)
    return samples, table


def flat_out(image, seconds=20):
    return json.loads(load(image, 16, seconds, "0").communicate()[0])


def draw(samples):
    """Requests a second, workers and jobs in the queue on one time axis."""
    end, began, marks = samples[-1]["t"], 0, []
    for users, seconds in STEPS:
        marks.append((began / end, f"{users} users"))
        began += seconds
    rows = [("rps", "answers/s"), ("workers", "workers"), ("jobs", "jobs in the queue, waiting or in hand")]
    return plot.svg([(title, [(sample["t"] / end, sample[key]) for sample in samples]) for key, title in rows], marks)


def wake(folder, model):
    """What the first request after a sleep takes, and one after it."""
    (folder / "sleep").mkdir()
    (folder / "sleep" / "models").symlink_to(folder / "models")
    image = ROOT / "worker/models/digits/samples/digit-3.png"
    fleet = Fleet(folder / "sleep", "--min", "0", "--max", "1", model=model)
    times = []
    while not any(known["name"] == model for known in json.load(urllib.request.urlopen(f"{URL}/models"))["models"]):
        time.sleep(0.05)
    for _ in range(2):
        begun = time.time()
        ask = subprocess.run(["curl", "-s", "-H", "Cache-Control: no-store", "-F", f"file=@{image}", f"{URL}/predict"],
                             capture_output=True, text=True)
        assert json.loads(ask.stdout)["success"], ask.stdout
        times.append(time.time() - begun)
    workers = status()["workers"]
    with urllib.request.urlopen(f"http://{workers[0]['admin']}/metrics") as page:
        text = page.read().decode()
    startup = next(line.split()[1] for line in text.splitlines() if line.startswith("shoal_worker_startup_seconds"))
    fleet.stop()
    print(f"{model}: first request after a sleep {times[0]:.2f} s, of which the worker's start {float(startup):.2f} s; "
          f"the next one {times[1]:.3f} s")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([BIN / "shoal", "models", "synth", "resnet50", "--models-dir", folder / "models"], check=True)
        image = folder / "photograph.jpg"
        subprocess.run([BIN / "examples/photograph", "500", "334", "58000", image], check=True)

        one = Fleet(folder, "--workers", "1")
        alone = flat_out(image)
        one.stop()
        print(f"one worker flat out: {alone['requests_per_second']:.1f} answers/s")

        fleet = Fleet(folder, "--min", "1", "--max", "8")
        samples, table = steps(image)
        print(fleet.shoal("fleet", "explain", "--last", "40"))
        grown = load(image, 16, 40, "0")
        time.sleep(18)
        before = status()
        time.sleep(20)
        after = status()
        images = sum(w["images"] for w in after["workers"]) - sum(w["images"] for w in before["workers"])
        grown.communicate()
        print(f"the same fleet flat out, {len(after['workers'])} workers: {images / 20:.1f} answers/s, "
              f"{images / 20 / alone['requests_per_second']:.2f} x one worker")
        fleet.stop()
        (ROOT / "docs/scaling.svg").write_text(draw(samples))
        for model in (MODEL, "digits"):
            wake(folder, model)
            subprocess.run(["rm", "-rf", folder / "sleep"])


if __name__ == "__main__":
    main()
