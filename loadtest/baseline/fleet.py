"""Starts the baseline: Redis, four API processes and so many workers, in a folder of its own; everything ends with it."""
import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = ROOT / ".tools/python-baseline"
# As many as their gunicorn had.
API_PROCESSES = 4
# Seconds until everything must answer.
PATIENCE = 60


def prepare():
    """Fetches Redis and the Python packages where they are missing; says why when it cannot."""
    subprocess.run([ROOT / "deploy/setup.sh", "--baseline"], check=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(work, model, workers):
    """Yields the port of the API once an API process and all workers are there."""
    work = pathlib.Path(work)
    uploads = work / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    port, redis_port = free_port(), free_port()
    environment = {
        **os.environ, "PYTHONPATH": f"{PACKAGES}:{HERE}", "PYTHONNOUSERSITE": "1", "ORT_DISABLE_TELEMETRY": "1",
        "BASELINE_UPLOADS": str(uploads), "BASELINE_MODEL": str(model), "BASELINE_REDIS_PORT": str(redis_port),
    }
    redis = [ROOT / ".tools/bin/redis-server", "--port", redis_port, "--bind", "127.0.0.1", "--save", "", "--dir", work]
    api = ["python3", "-m", "uvicorn", "api:app", "--port", port, "--workers", API_PROCESSES, "--log-level", "warning"]
    commands = [redis, api] + [["python3", HERE / "worker.py"]] * workers
    processes = []
    with open(work / "baseline.log", "w") as log:
        try:
            for command in commands:
                processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, env=environment, cwd=HERE))
            wait(work, port, workers, processes)
            yield port
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait()


def wait(work, port, workers, processes):
    patience = time.time() + PATIENCE
    while time.time() < patience:
        log = (work / "baseline.log").read_text()
        if any(process.poll() is not None for process in processes):
            break
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
            if log.count("Launching") >= workers:
                return
        time.sleep(0.1)
    raise SystemExit(f"the baseline does not start:\n{(work / 'baseline.log').read_text()[-2000:]}")
