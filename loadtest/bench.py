#!/usr/bin/env python3
"""Shoal against its limit, interleaved on the same cores; prints ratios and writes docs/benchmark.{json,md}.

The limit is one process that decodes and infers and does nothing else (worker/examples/limit.rs), in the best of
several shapes. Whatever is compared stands between two runs of what it is compared with, and every other round goes
backwards, so that a machine that speeds up or slows down meanwhile does so for both. Models are the true ResNet-50
graph with made-up weights, so nothing is downloaded. Every body differs unless it says "repeated". The generator runs
on the same cores.

    make bench                                          about 20 minutes
    BASELINE=1 make bench                               also the systems replaced, with this model (loadtest/baseline/)
    ROUNDS=1 SECONDS_EACH=2 DOCS=/tmp/x make bench      a rehearsal, written elsewhere
    MODELS_DIR=.shoal/models MODELS=a,b make bench      also these models, with the profiles that lie beside them

Where OpenVINO is in .tools (deploy/setup.sh --fast) and is faster here, also fp32 in the profile of `shoal tune`.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import statistics
import tempfile
import time

import rig
from baseline import fleet as baseline
from rig import BIN, CORES, output

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS_EACH", "6"))
DOCS = pathlib.Path(os.environ.get("DOCS", rig.ROOT / "docs"))
BASELINE = os.environ.get("BASELINE", "") not in ("", "0")
MODELS_DIR = pathlib.Path(os.environ.get("MODELS_DIR", ".shoal/models"))
MORE_MODELS = [name for name in os.environ.get("MODELS", "").split(",") if name]
# Where the fleet and the bare handler listen.
PORT, BARE_PORT = 8911, 8912
CONNECTIONS = (1, 8, 64)
# Sessions, threads of each, batch, decode threads.
SHAPES = [(1, CORES, 8, CORES), (CORES, 1, 4, CORES), (CORES, 1, 8, CORES), (CORES, 1, 4, 1)]
# One image at a time: prints the median in milliseconds.
ONE_BY_ONE = (0, CORES, 1, 1)


def limit(work, model, image, shape, engine="cpu"):
    found = float(output(BIN / "examples/limit", model, work / "models", image, SECONDS, *shape, engine))
    if found == 0:
        raise SystemExit(f"no batch was done in {SECONDS:g} s: raise SECONDS_EACH")
    return found


def best_shape(work, model, image, engine="cpu"):
    """The fastest of two passes, there and back."""
    speeds = {shape: [] for shape in SHAPES}
    for shape in [*SHAPES, *reversed(SHAPES)]:
        speeds[shape].append(limit(work, model, image, shape, engine))
    return max(SHAPES, key=lambda shape: statistics.mean(speeds[shape]))


class Sandwich:
    """Measurements between two runs each of what they are held against."""

    def __init__(self):
        self.rows = {}

    def round(self, reference, measurements, backwards):
        """`measurements`: name and function. Each gets its value and the mean of the references on both sides."""
        before = reference()
        for name, measure in reversed(measurements) if backwards else measurements:
            value, after = measure(), reference()
            against = (before + after) / 2
            self.rows.setdefault(name, []).append({"value": value, "against": against, "ratio": value / against})
            print(f"  {name}: {value:.1f} against {against:.1f}, {value / against:.2f}", flush=True)
            before = after


def resnet(work, image, model, with_baseline):
    """Rounds of the limit and whatever answers HTTP, one between the other."""
    found = Sandwich()
    rate = lambda url, connections, unique: rig.load(url, image, connections, SECONDS, unique)["requests_per_second"]
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(rig.fleet(work, model, PORT)).url
        olds = {}
        for workers in (1, 2) if with_baseline else ():
            folder = work / f"baseline-{model}-{workers}"
            port = stack.enter_context(baseline.running(folder, work / "models" / model / "model.onnx", workers))
            olds[workers] = f"http://127.0.0.1:{port}"
        rig.load(url, image, 8, SECONDS)
        shape = best_shape(work, model, image)
        print(f"{model}: the limit is best with {shape[0]} sessions of {shape[1]} threads, batches of {shape[2]}, {shape[3]} decode threads", flush=True)
        for number in range(ROUNDS):
            backwards = number % 2 == 1
            unique = [(f"rps_{n}", lambda n=n: rate(url, n, True)) for n in reversed(CONNECTIONS)]
            unique += [(f"baseline{w}_rps_{n}", lambda u=u, n=n: rate(u, n, True)) for w, u in olds.items() for n in CONNECTIONS]
            found.round(lambda: limit(work, model, image, shape), unique, backwards)
            alone = [("p50_1_ms", lambda: rig.load(url, image, 1, SECONDS)["p50_ms"])]
            alone += [(f"baseline{w}_p50_1_ms", lambda u=u: rig.load(u, image, 1, SECONDS)["p50_ms"]) for w, u in olds.items()]
            found.round(lambda: limit(work, model, image, ONE_BY_ONE), alone, backwards)
            for n in CONNECTIONS:
                bare = lambda n=n: rate(f"http://127.0.0.1:{BARE_PORT}", n, False)
                found.round(bare, [(f"repeated_rps_{n}", lambda n=n: rate(url, n, False))], backwards)
    return {"shape": shape, "rows": found.rows}


def tuned(work, model):
    """A copy of the model with the fastest profile for this machine, and what it computes with; None where that is what
    the file says. Its weights are made up, so how close its answers are means nothing and is no bound here."""
    name = f"{model}-fast"
    folder = shutil.copytree(work / "models" / model, work / "models" / name)
    manifest = folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(f'"{model}"', f'"{name}"'))
    images = work / "images"
    images.mkdir()
    for number in range(16):
        rig.photograph(images / f"{number}.jpg", 500 + number, 375, 58_000)
    said = output(BIN / "shoal", "tune", name, "--images", images, "--precision", "fast", "--agreement", 0, "--difference", 1,
                  "--seconds", 10 * SECONDS, "--models-dir", work / "models")
    print(said, flush=True)
    engine = re.search(r"^under load: (.+?),", said, re.MULTILINE)[1].replace(" ", "-")
    return None if engine == "cpu" else (name, engine)


def fast(work, image, model, name, engine):
    """The same file in its profile, between runs of the limit as the file says and of the limit in that profile's numbers."""
    found = Sandwich()
    with rig.fleet(work, name, PORT) as fleet:
        rate = lambda n: rig.load(fleet.url, image, n, SECONDS)["requests_per_second"]
        rate(8)
        shape, fast_shape = best_shape(work, model, image), best_shape(work, name, image, engine)
        fast_limit = lambda shape=fast_shape: limit(work, name, image, shape, engine)
        for number in range(ROUNDS):
            backwards = number % 2 == 1
            rows = [("limit", fast_limit), *((f"rps_{n}", lambda n=n: rate(n)) for n in reversed(CONNECTIONS))]
            found.round(lambda: limit(work, model, image, shape), rows, backwards)
            found.round(fast_limit, [("of_fast_64", lambda: rate(64))], backwards)
            found.round(lambda: fast_limit(ONE_BY_ONE), [("p50_1_ms", lambda: rig.load(fleet.url, image, 1, SECONDS)["p50_ms"])], backwards)
    return {"engine": engine, "shape": shape, "fast_shape": fast_shape, "rows": found.rows}


def path(work, images):
    """The digit model: inference is nearly free, so what is left is the path itself."""
    rows = {}
    with rig.fleet(work, "digits", PORT) as fleet:
        for name, image in images.items():
            loop = lambda image=image: float(output(BIN / "examples/bare_loop", fleet.nats, image.stat().st_size, SECONDS, 64))
            rig.load(fleet.url, image, 64, SECONDS)
            runs, loops = [], [loop()]
            for _ in range(ROUNDS):
                before = spent(fleet)
                run = rig.load(fleet.url, image, 64, SECONDS)
                after = spent(fleet)
                loops.append(loop())
                each = {part: (after[part] - before[part]) / run["outcomes"]["ok"] * 1e6 for part in before}
                whole = each["gateway"] + each["worker"] + each["nats-server"]
                each["path"] = whole - each["decode_threads"] - each["session_threads"]
                each["path_by_busy"] = whole - each["decode_busy"] - each["session_busy"]
                against = statistics.mean(loops[-2:])
                rps = run["requests_per_second"]
                runs.append({"rps": rps, "loop": against, "ratio": rps / against, **each})
            rows[name] = runs
            print(name, {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}, flush=True)
    return rows


def spent(fleet):
    """Seconds so far: CPU time of every part and of the worker's threads, and what its threads call busy."""
    pids = fleet.pids()
    seconds = {part: sum(rig.cpu_seconds(pid) for pid in of_part) for part, of_part in pids.items()}
    for part in ("decode", "session"):
        seconds[f"{part}_threads"] = sum(rig.cpu_seconds(pid, f"{part}-") for pid in pids["worker"])
        seconds[f"{part}_busy"] = fleet.worker_metric(f"shoal_worker_{part}_busy_seconds_total")
    return seconds


# ---- the page ----


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def of(rows, name, key, digits):
    return spread([row[key] for row in rows[name]], digits)


def markdown(results):
    lines = []
    for name, found in results["models"].items():
        rows, shape = found["rows"], found["shape"]
        lines += [f"## ResNet-50, {name}", "",
                  f"The limit: {shape_in_words(shape)}.", ""]
        lines += table(["every body different, images/s", *(f"at {n}" for n in CONNECTIONS), *(f"of the limit, at {n}" for n in CONNECTIONS)])
        lines.append(cells(["limit beside it", *(of(rows, f"rps_{n}", "against", 1) for n in CONNECTIONS), "1", "1", "1"]))
        for who, prefix in [("Shoal", ""), ("baseline, 1 worker", "baseline1_"), ("baseline, 2 workers", "baseline2_")]:
            if f"{prefix}rps_1" in rows:
                keys = [f"{prefix}rps_{n}" for n in CONNECTIONS]
                lines.append(cells([who, *(of(rows, key, "value", 1) for key in keys), *(of(rows, key, "ratio", 2) for key in keys)]))
        lines.append("")
        lines += table(["one at a time, p50 in ms", "in one process", "by HTTP", "over"])
        for who, prefix in [("Shoal", ""), ("baseline, 1 worker", "baseline1_"), ("baseline, 2 workers", "baseline2_")]:
            if f"{prefix}p50_1_ms" in rows:
                alone = rows[f"{prefix}p50_1_ms"]
                over = spread([row["value"] - row["against"] for row in alone], 1)
                lines.append(cells([who, spread([row["against"] for row in alone], 1), spread([row["value"] for row in alone], 1), over]))
        lines.append("")
        lines += table(["one body, repeated: requests/s", *(f"at {n}" for n in CONNECTIONS)])
        for who, key, digits in [("a bare handler that hashes", "against", 0), ("Shoal", "value", 0), ("ratio", "ratio", 2)]:
            lines.append(cells([who, *(of(rows, f"repeated_rps_{n}", key, digits) for n in CONNECTIONS)]))
        lines.append("")
    if results["fast"]:
        lines += fast_in_words(results["fast"])
    lines += ["## The path itself", "", "The digit model at 64 connections, every body different, between two runs of what NATS alone can do: as many bytes through a",
              "work queue in a file and back, 64 at a time, with nothing done to them (`nats/examples/bare_loop.rs`).", ""]
    lines += table(["", "a bare loop, jobs/s", "Shoal, requests/s", "ratio"])
    for name, runs in results["path"].items():
        lines.append(cells([name, *(spread([run[key] for run in runs], digits) for key, digits in [("loop", 0), ("rps", 0), ("ratio", 2)])]))
    lines += ["", "CPU time in µs a request; the last two columns are the three",
              "parts without decoding and inference: by the CPU time of the worker's decode and session threads, and by the time that",
              "`shoal_worker_decode_busy_seconds_total` and `shoal_worker_session_busy_seconds_total` call busy, in which a thread may",
              "also have waited for a core.", ""]
    parts = ["gateway", "nats-server", "worker", "path", "path_by_busy"]
    lines += table(["", "gateway", "nats-server", "worker", "outside decoding and inference", "by busy seconds"])
    for name, runs in results["path"].items():
        lines.append(cells([name, *(spread([run[part] for run in runs], 0) for part in parts)]))
    return "\n".join(lines)


def fast_in_words(found):
    rows, engine = found["rows"], found["engine"].replace("-", " ")
    lines = ["## ResNet-50, the fp32 file in the profile that `shoal tune` chose", "",
             f"It computes with {engine}. The limit as the file says: {shape_in_words(found['shape'])}; with {engine}: {shape_in_words(found['fast_shape'])}.", ""]
    lines += table(["every body different", "images/s", "of the limit as the file says, beside it"])
    names = [("the loop in one process", "limit"), *((f"Shoal at {n}", f"rps_{n}") for n in CONNECTIONS)]
    lines += [cells([name, of(rows, key, "value", 1), of(rows, key, "ratio", 2)]) for name, key in names]
    alone = spread([row["value"] - row["against"] for row in rows["p50_1_ms"]], 1)
    return [*lines, "", f"At 64 connections {of(rows, 'of_fast_64', 'ratio', 2)} of the loop with {engine}. One at a time, p50: "
            f"{of(rows, 'p50_1_ms', 'against', 1)} ms in one process, {of(rows, 'p50_1_ms', 'value', 1)} ms by HTTP, {alone} over.", ""]


def shape_in_words(shape):
    return f"{shape[0]} session(s) of {shape[1]} thread(s), batches of {shape[2]}, {shape[3]} decode thread(s)"


def cells(texts):
    return "| " + " | ".join(texts) + " |"


def table(heads):
    return [cells(heads), cells(["---"] * len(heads))]


def main():
    rig.build()
    if BASELINE:
        baseline.prepare()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        photo = rig.photograph(work / "58k.jpg", 500, 375, 58_000)
        small = rig.photograph(work / "1k.jpg", 32, 32, 1_000)
        for kind in ([], ["--int8"]):
            output(BIN / "shoal", "models", "synth", "resnet50", *kind, "--models-dir", work / "models")
        models = {"fp32": "resnet50-synth", "int8": "resnet50-synth-int8"}
        # With everything in its folder: a profile that `shoal up` finds there makes it a row of its own.
        for name in MORE_MODELS:
            shutil.copytree(rig.ROOT / MODELS_DIR / name, work / "models" / name)
            models[name] = name
        bare = [BIN / "examples/bare", BARE_PORT]
        with rig.running(bare, work / "bare.log", lambda log: time.sleep(0.5) or True):
            profile = tuned(work, models["fp32"]) if (rig.ROOT / ".tools/onnxruntime-openvino").exists() else None
            found = {name: resnet(work, photo, model, BASELINE and name not in MORE_MODELS) for name, model in models.items()}
        results = {**rig.provenance(), "rounds": ROUNDS, "seconds_each": SECONDS, "models": found,
                   "fast": fast(work, photo, models["fp32"], *profile) if profile else None,
                   "path": path(work, {"1 KB JPEG": small, "58 KB JPEG": photo})}
    page = (f"# Benchmark\n\n{rig.said(results)}. Medians of {ROUNDS} rounds of {SECONDS:g} s a run, in brackets the lowest and highest; every run "
            "stands between two of what it is held against, and ratios are taken with the mean of these. Written by `make bench`; what "
            f"is measured stands in `loadtest/bench.py`.\n\n{markdown(results)}\n")
    print(page)
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "benchmark.json").write_text(json.dumps(results, indent=1) + "\n")
    (DOCS / "benchmark.md").write_text(page)


if __name__ == "__main__":
    main()
