#!/bin/sh
# Predict photos by a service: sh client.sh http://127.0.0.1:8000 PHOTO ... The token is in HEADSTART_TOKEN.
set -eu

address=$1
shift
for photo; do
  set -- "$@" --form "photo=@$photo"
  shift
done
curl --fail-with-body --silent --show-error --header "Authorization: Bearer ${HEADSTART_TOKEN:-}" "$@" "$address/v1/predict?top_k=3"
