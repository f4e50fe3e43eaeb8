#!/usr/bin/env python3
"""Every load test of the systems that Shoal replaces, repeated against Shoal on this machine.

Writes docs/seeds.md: their figures beside ours. The model is the true ResNet-50 graph in 8 bits with
made-up weights (their models had the same cost), so nothing is downloaded; every body differs, so no
cache helps.

    loadtest/seeds.py                           about 17 minutes
    SEEDS=a-1,d-1 loadtest/seeds.py             some rows; docs/seeds.md is left alone
    STRETCH=0.1 loadtest/seeds.py               a rehearsal; docs/seeds.md is left alone
    MODEL=resnet50-synth loadtest/seeds.py      fp32
"""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("SHOAL_BINARIES", pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"))
MODEL = os.environ.get("MODEL", "resnet50-synth-int8")
STRETCH = float(os.environ.get("STRETCH", "1"))
ONLY = [name for name in os.environ.get("SEEDS", "").split(",") if name]
PORT = int(os.environ.get("PORT", "8913"))
OUT = pathlib.Path(os.environ["OUT"]) if "OUT" in os.environ else None

# Name, scenario, workers, and what the reports say: machine, users, RPS, median, average, failed.
# A list of several is one entry for each phase.
A = "A: i3-8100, 16 GB, GTX 1050 Ti"
B = "B: a laptop"
C = "C: i7-7660U, 8 GB"
ROWS = [
    ("d-1", "seed-d-10-users", 1, "D: gunicorn 4, Redis, PostgreSQL", [("10", "2.98", "210", "233", "0 %")]),
    ("c-1", "seed-c-two-endpoints", 1, C, [
        ("10", "3.3", "230 (predict)", "–", "0 %"), ("25", "6.4", "830 (predict)", "–", "0 %"),
        ("50", "5.3", "1700 (predict)", "–", "1 %"), ("100", "7.5", "2200 (predict)", "–", "17 %")]),
    ("c-2", "seed-c-two-endpoints", 2, C, [
        ("10", "3.2", "320 (predict)", "–", "0 %"), ("25", "5.5", "590 (predict)", "–", "0 %"),
        ("50", "1.0", "1700 (predict)", "–", "4 %"), ("100", "2.4", "1800 (predict)", "–", "22 %")]),
    ("a-1", "seed-a-b-200-users", 1, A, [("200", "3.3", "11000", "12720", "3.6 %, ended after 10 s")]),
    ("a-3", "seed-a-b-200-users", 3, A, [("200", "6.2", "23000", "19809", "0.4 %")]),
    ("b-1", "seed-a-b-200-users", 1, B, [("200", "8.5", "–", "18041", "0 to 1.6 %")]),
    ("b-4", "seed-a-b-200-users", 4, B, [("200", "23.5", "–", "4886", "6.6 %")]),
    ("b600-1", "seed-b-600-users", 1, B, [("600", "not tried", "–", "–", "–")]),
    ("b600-4", "seed-b-600-users", 4, B, [("600", "23.4", "–", "16615", "6.2 %; beyond it 50 %")]),
    ("e-1", "seed-e-500-users-without-waiting", 1, "E: Lambda, 3 GB, another model",
     [("500", "1319 (65 answered)", "230", "282", "95.1 %, without Retry-After")]),
    ("ramp-1", "seed-ramp-until-failure", 1, A, [("until the first failure", "3.3", "11000", "12720", "first error after 10 s")]),
    ("many-1", "seed-many-addresses", 1, "A, B: wished for", [("200, 16 addresses", "–", "–", "–", "–")]),
]


def output(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(str(part) for part in command)}:\n{done.stderr}")
    return done.stdout


# A target with accounts makes one for demonstrations; without them the same requests go without a token.
HAS_ACCOUNTS = None


@contextlib.contextmanager
def fleet(work, workers):
    command = [BIN / "shoal", "up", "--model", MODEL, "--workers", workers, "--port", PORT, "--nats-port", 0, "--data-dir", work]
    command += ["--demo"] if HAS_ACCOUNTS else []
    log = work / f"up-{workers}.log"
    with open(log, "w") as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out, cwd=ROOT)
    try:
        while "Ctrl-C" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        until_ready(workers)
        yield
    finally:
        process.terminate()
        process.wait()


def until_ready(workers):
    """Every worker has loaded its model, or a minute is over: what is there is what is measured."""
    import urllib.request
    patience = time.time() + 60
    while time.time() < patience:
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(f"http://127.0.0.1:{PORT}/models", timeout=5) as answer:
            if sum(worker["state"] == "ready" for worker in json.load(answer)["workers"]) >= workers:
                return
        time.sleep(0.2)


def run(work, name, scenario, workers):
    out = (OUT or work) / name
    command = [BIN / "shoal-loadtest", "run", ROOT / f"loadtest/scenarios/{scenario}.toml", "--url", f"http://127.0.0.1:{PORT}",
               "--label", f"{workers} worker{'s' if workers > 1 else ''}", "--out", out, "--quiet", "--stretch", STRETCH]
    uses_accounts = "[target.login]" in (ROOT / f"loadtest/scenarios/{scenario}.toml").read_text()
    if uses_accounts and not HAS_ACCOUNTS:
        command += ["--no-login", "--path", "predict=/predict"]
        command += ["--path", "users=/"] if "two-endpoints" in scenario else []
    output(*command)
    return json.loads((out / "report.json").read_text())


def share(count, total):
    return f"{100 * count / total['requests'] if total['requests'] else 0:.2f} %"


def cells(total, seconds, timed):
    """Latency of what was answered of `timed`; refusals and failures apart."""
    stats = timed["latency"] or {}
    figure = lambda key: f"{stats[key]:.0f}" if stats else "–"
    return [f"{total['requests'] / seconds:.1f}", f"**{total['rps']:.1f}**", figure("p50_ms"), figure("mean_ms"), figure("p95_ms"),
            share(total["failed"], total), share(total["refused"], total)]


def lines(row, report):
    _, _, workers, machine, theirs = row
    phases = report["phases"]
    for index, (users, *figures) in enumerate(theirs):
        if len(theirs) > 1:
            # A rehearsal of a long scenario may have ended before its last phase.
            if index >= len(phases):
                continue
            part, seconds = phases[index], phases[index]["to"] - phases[index]["from"]
        else:
            part, seconds = report, report["seconds"]
        total = part["total"]
        # Where their report has the time of predictions alone, so has ours.
        only_predict = "(predict)" in figures[1]
        timed = next(task for task in part["tasks"] if task["name"] == "predict") if only_predict else total
        note = users
        if row[0] == "ramp-1":
            note = f"{max(second['users'] for second in report['series'])}, {users}"
        yield "| " + " | ".join([machine, note, str(workers), *figures, *cells(total, seconds, timed)]) + " |"


def scaling(reports):
    """What another worker brought, from the same scenario with different numbers of them."""
    by_scenario = {}
    for name, scenario, workers, *_ in ROWS:
        if name in reports:
            by_scenario.setdefault(scenario, {})[workers] = reports[name]["total"]["rps"]
    for scenario, rates in by_scenario.items():
        if len(rates) > 1:
            base = rates[min(rates)]
            told = ", ".join(f"{workers} worker{'s' if workers > 1 else ''} {rate:.1f}/s ({rate / base:.2f} ×)" for workers, rate in sorted(rates.items()))
            yield f"- `{scenario}`: {told}."


def document(reports):
    some = next(iter(reports.values()))
    machine = some["environment"]
    head = [
        "| theirs | users | instances | RPS | median ms | average ms | failed | ours: RPS | answered/s | median ms | average ms | p95 ms | failed | refused, with Retry-After |",
        "| --- " * 14 + "|",
    ]
    table = [line for row in ROWS if row[0] in reports for line in lines(row, reports[row[0]])]
    logins = "Users log in once, which is counted (under its own name in each report)" if HAS_ACCOUNTS else \
        "This build of Shoal has no accounts: reports C and D are repeated on `/predict` and `/` without a token"
    verdicts = []
    for name, scenario, workers, *_ in ROWS:
        if name in reports:
            report = reports[name]
            verdicts.append(f"### {name}: {report['scenario']['title']}, {report['label']}\n")
            if report["ended_early"]:
                verdicts.append(f"- Ended early: {report['ended_early']}.")
            verdicts += [f"- {finding}" for finding in report["verdict"]]
            generator = report["generator"]
            verdicts.append(f"- Generator: {generator['cores']:.2f} of a core; {generator['logins']} logins; "
                            f"{generator['shortfall']} requests it could not send.\n")
    return "\n".join([
        "# The load tests of the systems that Shoal replaces, repeated",
        "",
        f"Written by `make seeds-report` on {time.strftime('%Y-%m-%d')}, commit {output('git', 'describe', '--always', '--dirty').strip()}"
        + (f", every phase {STRETCH:g} times as long" if STRETCH != 1 else "") + ".",
        "",
        f"Ours: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.1f} GiB, no GPU, {machine['system']}; {machine['version']}. "
        f"Gateway, broker, workers and the load generator share these cores. Model: `{MODEL}`, the true ResNet-50 graph with made-up weights. "
        "Every body is a different 58 KB photograph, so no cache helps. Every answer is checked: it must name the label that the image had before the load began.",
        "",
        f"{logins}. Median, average and p95 are of answered requests; a refusal is a 429 or 503 that says when to come back, and no "
        "failure; where theirs are of predictions alone, so are ours. Theirs are copied from their reports, on their machines, which name no commit: compare the shape, not the digits. "
        "Users who pause 1 to 5 s ask a third of a request each second: 10 of them cannot ask more than 3.3/s, whatever the server does.",
        "",
        *head,
        *table,
        "",
        "## What another worker brings here",
        "",
        *(list(scaling(reports)) or ["Nothing was run with several numbers of workers."]),
        "",
        f"On {machine['cores']} cores, one worker uses them all when the queue is long: more workers divide the same cores, and must not make it worse, "
        "as they did in report C.",
        "",
        "## What each run says",
        "",
        *verdicts,
    ]) + "\n"


def main():
    global HAS_ACCOUNTS
    if "SHOAL_BINARIES" not in os.environ:
        subprocess.run([ROOT / "deploy/release.sh", "--quiet"], check=True, cwd=ROOT)
    HAS_ACCOUNTS = bool(re.search(r"^\s+--demo\b", output(BIN / "shoal", "up", "--help"), re.MULTILINE))
    rows = [row for row in ROWS if not ONLY or row[0] in ONLY]
    unknown = set(ONLY) - {row[0] for row in ROWS}
    if unknown:
        raise SystemExit(f"SEEDS: {', '.join(sorted(unknown))} unknown; there are {', '.join(row[0] for row in ROWS)}")
    reports = {}
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        if MODEL.startswith("resnet50-synth"):
            int8 = ["--int8"] if MODEL.endswith("int8") else []
            output(BIN / "shoal", "models", "synth", "resnet50", *int8, "--models-dir", work / "models")
        for workers in sorted({row[2] for row in rows}):
            with fleet(work, workers):
                done = {}
                for name, scenario, *_ in (row for row in rows if row[2] == workers):
                    # Reports A and B made the same experiment.
                    done[scenario] = reports[name] = done.get(scenario) or run(work, name, scenario, workers)
                    print(f"{name}: {reports[name]['verdict'][0]}", flush=True)
    text = document(reports)
    if ONLY or STRETCH != 1:
        print(text)
    else:
        (ROOT / "docs/seeds.md").write_text(text)
        print("docs/seeds.md is written")


if __name__ == "__main__":
    main()
