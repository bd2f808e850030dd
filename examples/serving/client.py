"""Predict a photo by a service: client.py http://127.0.0.1:8000 PHOTO. HEADSTART_TOKEN has the token."""

import json
import os
import sys
import urllib.request

address, path = sys.argv[1:]
token = os.environ.get("HEADSTART_TOKEN", "")
headers = {"Content-Type": "application/octet-stream", "Authorization": f"Bearer {token}"}
with open(path, "rb") as photo:
    request = urllib.request.Request(f"{address}/v1/predict?top_k=3", photo.read(), headers)
try:
    answer = json.load(urllib.request.urlopen(request, timeout=60))
except urllib.request.HTTPError as error:
    sys.exit(error.read().decode())
print(json.dumps(answer["predictions"][0], ensure_ascii=False))
