"""The same users for those who keep Locust: index 20 %, predictions 80 %, 1 to 5 s between them, every
answer checked, refusals told apart, one login for each user.

    pip install locust
    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000                       # in the browser
    locust -f loadtest/locustfile.py --host http://127.0.0.1:8000 --headless -u 50 -r 10 -t 60s --csv run

    IMAGES=folder           JPEG and PNG files; by default the digits that ship, with their labels
    SHOAL_USER, SHOAL_PASSWORD   log in and use /model/predict with the token

Locust is a closed loop: a server that stands still keeps its users from asking, so its percentiles leave
out the wait of everyone who would have come. `shoal-loadtest` with `rate` counts them.
"""
import itertools
import os
import pathlib
import re
import uuid

from locust import HttpUser, between, task

SAMPLES = pathlib.Path(__file__).resolve().parent.parent / "worker/models/digits/samples"
FOLDER = pathlib.Path(os.environ.get("IMAGES", SAMPLES))
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
if not FILES:
    raise SystemExit(f"IMAGES={FOLDER}: no JPEG or PNG in it")
NEXT = itertools.count()
USER, PASSWORD = os.environ.get("SHOAL_USER"), os.environ.get("SHOAL_PASSWORD", "")
# What an image's answers said first: a later one that differs belongs to somebody else.
LABELS = {}


def expected(path):
    digit = re.fullmatch(r"digit-(\d)", path.stem)
    return digit.group(1) if digit and FOLDER == SAMPLES else LABELS.get(path)


def unique(data):
    """The same picture in other bytes, so that no cache helps: a comment in a JPEG; a PNG stays as it is."""
    if not data.startswith(b"\xff\xd8"):
        return data
    comment = uuid.uuid4().hex.encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


class Visitor(HttpUser):
    wait_time = between(1, 5)

    def on_start(self):
        self.headers = {}
        if USER:
            form = {"username": USER, "password": PASSWORD, "grant_type": "", "scope": "", "client_id": "", "client_secret": ""}
            answer = self.client.post("/login", data=form)
            if answer.ok:
                self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    @task(20)
    def index(self):
        self.client.get("/")

    @task(80)
    def predict(self):
        path = FILES[next(NEXT) % len(FILES)]
        files = {"file": (path.name, unique(path.read_bytes()))}
        route = "/model/predict" if USER else "/predict"
        with self.client.post(route, files=files, headers=self.headers, catch_response=True, name="predict") as answer:
            if answer.status_code in (429, 503) and "Retry-After" in answer.headers:
                answer.failure("refused (Retry-After)")
            elif answer.ok:
                said = answer.json().get("prediction")
                right = expected(path)
                if right is None:
                    LABELS[path] = said
                elif said != right:
                    answer.failure(f"wrong answer: {said}, not {right}")
