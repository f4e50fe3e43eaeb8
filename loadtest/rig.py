"""What measurements share: processes that end with the script, a fleet, load, CPU time and memory, versions."""
import contextlib
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("SHOAL_BINARIES", pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"))
CORES = len(os.sched_getaffinity(0))
# Told to end, a script ends what it has started first.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
# Seconds until a process must be ready.
PATIENCE = 90
# Name of a process, as the kernel cuts it, by part of the path.
PARTS = {"gateway": "shoal-gateway", "worker": "shoal-worker", "nats-server": "nats-server"}


def build():
    """Unless SHOAL_BINARIES names a folder of programs that are built already."""
    if "SHOAL_BINARIES" in os.environ:
        return
    subprocess.run([ROOT / "deploy/release.sh", "--quiet", "--examples"], check=True, cwd=ROOT)


def output(*command, timeout=300):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, timeout=timeout)
    if done.returncode:
        raise SystemExit(f"{' '.join(str(part) for part in command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def photograph(path, width, height, size):
    output(BIN / "examples/photograph", width, height, size, path)
    return path


@contextlib.contextmanager
def running(command, log, ready, **options):
    """A process whose log says that it is ready; it ends with the block."""
    log = pathlib.Path(log)
    with open(log, "w") as out:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out, cwd=ROOT, **options)
    try:
        patience = time.time() + PATIENCE
        while not ready(log.read_text()):
            if process.poll() is not None or time.time() > patience:
                raise SystemExit(f"{command[0]} is not ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.01)
        yield process
    finally:
        process.terminate()
        process.wait()


class Fleet:
    """A running `shoal up`."""

    def __init__(self, process, port, log):
        self.process, self.url = process, f"http://127.0.0.1:{port}"
        self.nats = next(line.split()[1] for line in log.read_text().splitlines() if " NATS " in line)

    def status(self):
        with urllib.request.urlopen(f"{self.url}/api/status", timeout=10) as answer:
            return json.load(answer)

    def ready_workers(self):
        return [worker for worker in self.status()["workers"] if worker["state"] == "ready"]

    def pids(self):
        """Process ids of every part, of this fleet alone."""
        return {part: [pid for pid, called in descendants(self.process.pid) if called == name] for part, name in PARTS.items()}

    def worker_metric(self, name):
        """Sum of a worker metric over all workers."""
        total = 0.0
        for worker in self.status()["workers"]:
            with urllib.request.urlopen(f"http://{worker['admin']}/metrics", timeout=10) as page:
                total += sum(float(line.rsplit(" ", 1)[1]) for line in page.read().decode().splitlines() if line.startswith(name + " "))
        return total


@contextlib.contextmanager
def fleet(work, model, port, *args, workers=1):
    """A fleet in a folder of its own, once all its workers are ready."""
    log = work / "up.log"
    command = [BIN / "shoal", "up", "--model", model, "--port", port, "--nats-port", 0, "--data-dir", work, *args]
    command += [] if "--min" in args else ["--workers", workers]
    with running(command, log, lambda text: "Ctrl-C" in text) as process:
        found = Fleet(process, port, log)
        patience = time.time() + PATIENCE
        while len(found.ready_workers()) < workers and time.time() < patience:
            time.sleep(0.05)
        try:
            yield found
        except SystemExit:
            # What the parts have to say about it, before the folder goes.
            for part in sorted((work / "logs").glob("*.log")):
                print(f"--- {part.name}\n{part.read_text()[-1500:]}", flush=True)
            raise


def load(url, image, connections, seconds, unique=True, accept=("ok",)):
    """A closed loop; every request must have ended in one of the accepted ways."""
    command = [BIN / "shoal-loadtest", "--url", f"{url}/predict?timeout_ms=60000", "--json"]
    command += ["--connections", connections, "--seconds", seconds, "--image", image, *(["--unique"] if unique else [])]
    run = json.loads(output(*command, timeout=seconds + 120))
    if not set(run["outcomes"]) <= set(accept):
        raise SystemExit(f"not every request was answered: {run['outcomes']}")
    return run


# ---- processes ----


def descendants(root):
    """(pid, name) of every process below one, itself not included."""
    children, names = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = path.read_text()
            pid, parent = int(path.parent.name), int(text.rpartition(")")[2].split()[1])
            names[pid] = text[text.index("(") + 1 : text.rindex(")")]
            children.setdefault(parent, []).append(pid)
    found, open_ = [], [root]
    while open_:
        for child in children.get(open_.pop(), []):
            found.append((child, names[child]))
            open_.append(child)
    return found


def cpu_seconds(pid, threads=None):
    """CPU time of a process, or of its threads of which the name begins so."""
    tick = os.sysconf("SC_CLK_TCK")
    stats = [pathlib.Path(f"/proc/{pid}/stat")] if threads is None else pathlib.Path(f"/proc/{pid}/task").glob("*/stat")
    total = 0
    for path in stats:
        with contextlib.suppress(OSError):
            text = path.read_text()
            if threads is None or text[text.index("(") + 1 :].startswith(threads):
                fields = text.rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
    return total / tick


def memory_mb(pid):
    """Memory in use (PSS): what several map, as sessions do the weights, is counted once."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE).group(1)) / 1024


# ---- what was measured on what ----


def provenance():
    """Date, machine, versions and commit: without them a number says nothing."""
    dirty = " with changes" if output("git", "status", "--porcelain", "--untracked-files=no").strip() else ""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": output("git", "rev-parse", "--short", "HEAD").strip() + dirty,
        "machine": f"{CORES} cores, {cpu_name()}, {platform.system()} {platform.release()}",
        "versions": {"rustc": rustc(), "ONNX Runtime": onnxruntime(), "nats-server": nats_server()},
    }


def said(about):
    """The same as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{about['date']}, commit {about['commit']}, {about['machine']}; {versions}"


def cpu_name():
    names = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


def rustc():
    return output("rustc", "--version").split()[1]


def onnxruntime():
    library = pathlib.Path(os.environ.get("ORT_DYLIB_PATH", ROOT / ".tools/onnxruntime/libonnxruntime.so"))
    found = re.search(r"\.so\.([\d.]+)$|libonnxruntime\.([\d.]+)\.dylib$", str(library.resolve()))
    return next(filter(None, found.groups())) if found else "unknown"


def nats_server():
    program = os.environ.get("SHOAL_NATS_SERVER", ROOT / ".tools/bin/nats-server")
    return output(program, "--version").split()[-1].lstrip("v")
