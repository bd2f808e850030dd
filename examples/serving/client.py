"""Predict a photo by a service: client.py http://127.0.0.1:8000 PHOTO. HEADSTART_TOKEN has the token."""

import json
import os
import sys
import urllib.request

address, path = sys.argv[1:]
with open(path, "rb") as photo:
    request = urllib.request.Request(f"{address}/v1/predict?top_k=3", photo.read())
request.add_header("Content-Type", "application/octet-stream")
request.add_header("Authorization", f"Bearer {os.environ.get('HEADSTART_TOKEN', '')}")
(prediction,) = json.load(urllib.request.urlopen(request, timeout=60))["predictions"]
print(prediction["label"], prediction["probability"])
