"""The service under load, beside the predictor alone: photos per second, latency, processor time per photo.

    python -m benchmarks.serving RUN PHOTOS [--seconds 10] [--connections 64]

Needs ``wrk`` (Debian: ``apt-get install wrk``) and Linux. wrk sends photos as raw bodies, 64 connections at a
time; only answers with status 200 count. The predictor predicts the same photos in a process of its own,
before and after. On a busy machine, compare the processor times. At last, 200 connections are more than the
queue holds: how fast are 503 and /healthz?

"bare" is what HTTP and threads cost by themselves: a uvicorn application of ten lines that passes each body
to the predictor, without limits, form data, log, metrics or errors.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ALONE = """
import sys, time, headstart as hs
photos = [open(path, "rb").read() for path in sys.argv[3:]]
predictor = hs.load(sys.argv[1])
predictor.predict(photos[:8])
begun, used, count = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - begun < float(sys.argv[2]):
    count += len(predictor.predict(photos))
print(count / (time.perf_counter() - begun), (time.process_time() - used) / count * 1000)
"""

BARE = """
import asyncio, json, sys, uvicorn, headstart as hs
from concurrent.futures import ThreadPoolExecutor
from headstart.cores import num_cores
predictor, pool = hs.load(sys.argv[1]), ThreadPoolExecutor(num_cores())
def answer(body):
    (found,) = predictor.predict([body], workers=0)
    return json.dumps(found.to_dict()).encode()
async def app(scope, receive, send):
    body, more = b"", scope["path"] != "/readyz"
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    found = await asyncio.get_running_loop().run_in_executor(pool, answer, body) if body else b"{}"
    size = str(len(found)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]})
    await send({"type": "http.response.body", "body": found})
config = uvicorn.Config(app, http="h11", loop="asyncio", lifespan="off", log_config=None, access_log=False)
listener = config.bind_socket()
print(json.dumps({"url": "http://%s:%d" % listener.getsockname()[:2]}), flush=True)
print(json.dumps({"event": "ready"}), flush=True)
uvicorn.Server(config).run([listener])
"""

LOAD = """
local bodies, at, good = {}, 0, 0
for path in io.open("%s"):lines() do
  local file = io.open(path, "rb")
  bodies[#bodies + 1] = file:read("*a")
  file:close()
end
request = function()
  at = at %% #bodies + 1
  return wrk.format("POST", "/v1/predict", {["Content-Type"] = "image/jpeg"}, bodies[at])
end
done = function(summary, latency, requests)
  local bad = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%f %%f %%f\\n", summary.requests, bad.status,
    bad.connect + bad.read + bad.write + bad.timeout, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--most", type=int, default=200, help="photos")
    given = parser.parse_args()
    photos = sorted(given.photos.rglob("*.jpg"))
    photos = photos[:: max(1, len(photos) // given.most)][: given.most]
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    before = alone(given.run, photos, given.seconds)
    command = [sys.executable, "-m", "headstart", "serve", str(given.run), "--port", "0"]
    with server(command) as (process, url):
        used = processor_seconds(process.pid)
        count, bad, broken, seconds, p50, p99 = load(url, photos, given.seconds, given.connections)
        used = processor_seconds(process.pid) - used
        refused, alive = overload(url, photos, given.seconds)
    with server([sys.executable, "-c", BARE, str(given.run)]) as (process, url):
        bare_used = processor_seconds(process.pid)
        of_bare = load(url, photos, given.seconds, given.connections)
        bare_used = processor_seconds(process.pid) - bare_used
    after = alone(given.run, photos, given.seconds)
    good, bare_good = count - bad, of_bare[0] - of_bare[1]
    rate, reference = good / seconds, (before[0] + after[0]) / 2
    bare_rate, bare_ms = bare_good / of_bare[3], bare_used / max(1, bare_good) * 1000
    own_ms, reference_ms = used / max(1, good) * 1000, (before[1] + after[1]) / 2
    print(f"predictor  {before[0]:.1f} and {after[0]:.1f} photos/s, {reference_ms:.2f} ms of processor time")
    print(f"service    {rate:.1f} photos/s, {own_ms:.2f} ms; {good} with 200, {bad} others, {broken} failed")
    print(f"bare       {bare_rate:.1f} photos/s, {bare_ms:.2f} ms; rate {bare_rate / reference:.2f}")
    print(f"rate {rate / reference:.2f}, processor time {own_ms / reference_ms:.2f} of the predictor's")
    print(f"overload   503: {of_milliseconds(refused)}; /healthz: {of_milliseconds(alive)}")
    limit = 1.5 * given.connections / max(rate, 1e-9) * 1000
    print(f"latency    p50 {p50:.0f} ms, p99 {p99:.0f} ms; 1.5 x connections / rate: {limit:.0f} ms")


def alone(run: Path, photos: list[Path], seconds: int) -> tuple[float, float]:
    """Return photos per second and milliseconds of processor time per photo of the predictor."""
    command = [sys.executable, "-c", ALONE, str(run), str(seconds), *map(str, photos)]
    rate, used = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(rate), float(used)


@contextlib.contextmanager
def server(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a service at a free port, and stop it at the end of the block."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, text=True)
        try:
            yield process, ready(process, log.fileno())
        finally:
            process.terminate()
            print(f"service    ended with exit code {process.wait()}")


def ready(process: subprocess.Popen[str], log: int) -> str:
    """Wait until the service is ready, and return its address."""
    while process.poll() is None:
        time.sleep(0.1)
        lines = os.pread(log, 10_000, 0).decode().splitlines()
        if lines and lines[-1].endswith("}") and any('"ready"' in line for line in lines):
            url: str = json.loads(lines[0])["url"]
            urllib.request.urlopen(f"{url}/readyz").close()
            return url
    raise SystemExit("The service has ended.")


def load(
    url: str, photos: list[Path], seconds: int, connections: int
) -> tuple[int, int, int, float, float, float]:
    """Return requests, those without status 200, failed connections, seconds, and two latencies in ms."""
    with tempfile.TemporaryDirectory() as folder:
        names, script = Path(folder, "photos.txt"), Path(folder, "load.lua")
        names.write_text("".join(f"{path.absolute()}\n" for path in photos))
        script.write_text(LOAD % names)
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\S+) (\S+) (\S+)", done.stdout)
    assert found is not None, done.stdout
    count, bad, broken, *rest = found.groups()
    took, p50, p99 = map(float, rest)
    return int(count), int(bad), int(broken), took, p50, p99


def overload(url: str, photos: list[Path], seconds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each 503 and of each /healthz while 200 connections send photos."""
    refused, alive = [], []
    photo = photos[0].read_bytes()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, url, photos, seconds, 200)
        time.sleep(1)
        while not loading.done():
            for request, answers in ((f"{url}/healthz", alive), (f"{url}/v1/predict", refused)):
                begun = time.perf_counter()
                try:
                    sent = photo if answers is refused else None
                    urllib.request.urlopen(
                        urllib.request.Request(request, sent, {"Content-Type": "image/jpeg"})
                    ).close()
                    counts = answers is alive
                except urllib.error.HTTPError as error:
                    counts = error.code == 503 and answers is refused
                if counts:
                    answers.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.05)
    return refused, alive


def of_milliseconds(times: list[float]) -> str:
    """Return number, median and maximum as text."""
    if not times:
        return "none"
    return f"{len(times)}, median {statistics.median(times):.0f} ms, maximum {max(times):.0f} ms"


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
