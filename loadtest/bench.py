#!/usr/bin/env python3
"""Shoal against its limit, interleaved on the same cores; prints ratios and writes docs/benchmark.{json,md}.

The limit is one process that decodes and infers and does nothing else (worker/examples/limit.rs), in
the best of several shapes. Models are the true ResNet-50 graph with made-up weights, so nothing is
downloaded. Every body differs unless it says "repeated". The generator runs on the same cores.

    ROUNDS=3 SECONDS_EACH=6 loadtest/bench.py
"""
import contextlib
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS_EACH", "6"))
CORES = len(os.sched_getaffinity(0))
# Where the fleet and the bare handler listen.
PORT, BARE_PORT = 8911, 8912


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, cwd=ROOT).stdout


@contextlib.contextmanager
def running(command, log, ready):
    with open(log, "w") as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out, cwd=ROOT)
    try:
        while not ready(pathlib.Path(log).read_text()):
            if process.poll() is not None:
                raise SystemExit(pathlib.Path(log).read_text())
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def fleet(work, model):
    command = [BIN / "shoal", "up", "--model", model, "--port", PORT, "--nats-port", 0, "--data-dir", work]
    return running(command, work / "up.log", lambda log: "Ctrl-C" in log)


def load(image, connections, unique, port=PORT):
    command = [BIN / "shoal-loadtest", "--url", f"http://127.0.0.1:{port}/predict?timeout_ms=60000", "--json"]
    command += ["--connections", connections, "--seconds", SECONDS, "--image", image, *(["--unique"] if unique else [])]
    run = json.loads(output(*command))
    if set(run["outcomes"]) != {"ok"}:
        raise SystemExit(f"not every request was answered: {run['outcomes']}")
    return run


def limit(work, model, image, sessions, threads, batch, decoders):
    return float(output(BIN / "examples/limit", model, work / "models", image, SECONDS, sessions, threads, batch, decoders))


# Sessions, threads of each, batch, decode threads.
SHAPES = [(1, CORES, 8, CORES), (CORES, 1, 4, CORES), (CORES, 1, 8, CORES), (CORES, 1, 4, 1)]


def resnet(work, image, model):
    """Rounds of limit and fleet, one after the other."""
    rounds = []
    with fleet(work, model):
        load(image, 8, True)
        for _ in range(ROUNDS):
            row = {"limit": max(limit(work, model, image, *shape) for shape in SHAPES)}
            row["limit_p50_ms"] = limit(work, model, image, 0, CORES, 1, 1)
            for connections in (1, 8, 64):
                run = load(image, connections, True)
                row[f"rps_{connections}"], row[f"p50_{connections}_ms"] = run["requests_per_second"], run["p50_ms"]
            run = load(image, 64, False)
            row["rps_repeated"] = run["requests_per_second"]
            row["bare"] = load(image, 64, False, BARE_PORT)["requests_per_second"]
            rounds.append(row)
            print(model, {name: round(value, 1) for name, value in row.items()}, flush=True)
    return rounds


def processes():
    """CPU seconds of all processes, by name."""
    seconds, tick = {}, os.sysconf("SC_CLK_TCK")
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            name, fields = re.search(r"\((.*)\)", text).group(1), text.rpartition(")")[2].split()
            seconds[name] = seconds.get(name, 0) + (int(fields[11]) + int(fields[12])) / tick
    return seconds


def path(work, images):
    """The digit model: inference is nearly free, so what is left is the path itself."""
    rows = {}
    with fleet(work, "digits"):
        for name, image in images.items():
            load(image, 64, True)
            runs = []
            for _ in range(ROUNDS):
                before = processes()
                run = load(image, 64, True)
                after = processes()
                count = run["outcomes"]["ok"]
                run["cpu_us"] = {part: (after[part] - before[part]) / count * 1e6 for part in ("shoal-gateway", "shoal-worker", "nats-server")}
                runs.append(run)
            rows[name] = {
                "rps": statistics.median(run["requests_per_second"] for run in runs),
                "cpu_us": runs[-1]["cpu_us"],
            }
            print(name, rows[name], flush=True)
    return rows


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(results):
    lines = [
        "| | limit, images/s | Shoal at 64 | ratio | Shoal at 8 | limit, p50 ms | Shoal p50 at 1, ms | over | repeated at 64 | bare handler | ratio |",
        "| --- " * 11 + "|",
    ]
    for name, rounds in results["resnet50"].items():
        column = lambda key: [row[key] for row in rounds]
        cells = [
            name,
            spread(column("limit"), 1),
            spread(column("rps_64"), 1),
            spread([row["rps_64"] / row["limit"] for row in rounds], 2),
            spread(column("rps_8"), 1),
            spread(column("limit_p50_ms"), 1),
            spread(column("p50_1_ms"), 1),
            spread([row["p50_1_ms"] - row["limit_p50_ms"] for row in rounds], 1),
            spread(column("rps_repeated"), 0),
            spread(column("bare"), 0),
            spread([row["rps_repeated"] / row["bare"] for row in rounds], 2),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| digit model, 64 connections, every body different | requests/s | CPU, µs a request: gateway | worker, with decoding and inference | nats-server |", "| --- " * 5 + "|"]
    for name, row in results["path"].items():
        cpu = row["cpu_us"]
        lines.append(f"| {name} | {row['rps']:.0f} | {cpu['shoal-gateway']:.0f} | {cpu['shoal-worker']:.0f} | {cpu['nats-server']:.0f} |")
    return "\n".join(lines)


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet", "--workspace", "--bins", "--examples"], check=True, cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        photo = work / "58k.jpg"
        output(BIN / "examples/photograph", 500, 375, 58_000, photo)
        small = work / "1k.jpg"
        output(BIN / "examples/photograph", 32, 32, 1_000, small)
        for kind in ([], ["--int8"]):
            output(BIN / "shoal", "models", "synth", "resnet50", *kind, "--models-dir", work / "models")
        bare = [BIN / "examples/bare", BARE_PORT]
        with running(bare, work / "bare.log", lambda log: time.sleep(0.5) or True):
            resnet50 = {name: resnet(work, photo, model) for name, model in (("fp32", "resnet50-synth"), ("int8", "resnet50-synth-int8"))}
        results = {
            "date": time.strftime("%Y-%m-%d"),
            "commit": output("git", "rev-parse", "--short", "HEAD").strip(),
            "machine": f"{CORES} cores, {cpu_name()}, {platform.system()} {platform.release()}",
            "rounds": ROUNDS,
            "seconds_each": SECONDS,
            "resnet50": resnet50,
            "path": path(work, {"1 KB JPEG": small, "58 KB JPEG": photo}),
        }
    text = table(results)
    print(text)
    (ROOT / "docs/benchmark.json").write_text(json.dumps(results, indent=1) + "\n")
    heading = f"# Benchmark\n\n{results['date']}, commit {results['commit']}, {results['machine']}; medians of {ROUNDS} interleaved rounds of {SECONDS:g} s, in brackets the lowest and highest. Written by `make bench`; what the columns mean stands in `loadtest/bench.py`.\n\n"
    (ROOT / "docs/benchmark.md").write_text(heading + text + "\n")


def cpu_name():
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
