"""What API and worker agree on; all of it from the environment."""
import os

UPLOADS = os.environ["BASELINE_UPLOADS"]
MODEL = os.environ["BASELINE_MODEL"]
REDIS_PORT = int(os.environ["BASELINE_REDIS_PORT"])
# The list that jobs wait in.
QUEUE = "service_queue"
# Seconds between two looks for a result, and after each job.
API_SLEEP = 0.05
WORKER_SLEEP = 0.05
