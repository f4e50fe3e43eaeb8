"""The front door of the systems replaced: the upload becomes a file named by its MD5, its name goes into a Redis
list, and the handler looks for the result until it is there, asleep in between. The client blocks, and so does the
sleep: that is how they were written. The body is the image, without the form that they had to parse.
"""
import hashlib
import json
import os
import time
import uuid

import redis
import settings
from fastapi import FastAPI, Request

app = FastAPI()
# Newer clients give up waiting after a while; theirs did not.
database = redis.Redis(port=settings.REDIS_PORT, socket_timeout=None)


@app.post("/predict")
async def predict(request: Request):
    body = await request.body()
    name = hashlib.md5(body).hexdigest() + ".jpeg"
    with open(os.path.join(settings.UPLOADS, name), "wb") as file:
        file.write(body)
    job = str(uuid.uuid4())
    database.lpush(settings.QUEUE, json.dumps({"id": job, "image_name": name}))
    while True:
        output = database.get(job)
        if output is not None:
            break
        time.sleep(settings.API_SLEEP)
    database.delete(job)
    output = json.loads(output)
    return {"success": True, "prediction": output["prediction"], "score": output["score"], "image_file_name": name}


@app.get("/")
def index():
    return {"ready": True}
