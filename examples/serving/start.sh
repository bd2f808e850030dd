#!/bin/sh
# Verifies the model in /model, and serves it if it is undamaged. Arguments are options of headstart serve.
set -eu

headstart verify "${HEADSTART_MODEL:-/model}"
exec headstart serve "model=${HEADSTART_MODEL:-/model}" --host 0.0.0.0 --port 8000 "$@"
