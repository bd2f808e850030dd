#!/usr/bin/env bash
# Trains with several processes on this machine. The same command again resumes a run that was interrupted.
#
#   examples/torchrun.sh PHOTOS RUN [options of headstart train ...]
#
# NUM_PROCESSES is the number of processes; by default one for each GPU. batch_size is the size of a step of all
# processes together, so the result hardly depends on their number. A resumed run needs the same number.
set -euo pipefail
if (($# < 2)); then
  echo "usage: $0 PHOTOS RUN [options of headstart train ...]" >&2
  exit 2
fi
photos=$1 run=$2
shift 2

if [[ -e $run/config.toml ]]; then command=(resume "$run"); else command=(train "$photos" --out "$run" "$@"); fi
exec python -m torch.distributed.run --standalone --nproc-per-node="${NUM_PROCESSES:-gpu}" -m headstart "${command[@]}"
