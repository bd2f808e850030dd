#!/usr/bin/env bash
# Trains on several machines under Slurm. RUN, the photos and HEADSTART_CACHE must be on storage that all machines
# share. The same command again, or Slurm by --requeue, resumes a run that was interrupted.
#
#   sbatch examples/slurm.sh PHOTOS RUN [options of headstart train ...]
#
# NUM_PROCESSES is the number of processes per machine; by default one for each GPU.
#SBATCH --job-name=headstart
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
# Two minutes before the time is over, the processes get SIGTERM, finish the current step and save it.
set -euo pipefail
if (($# < 2)); then
  echo "usage: sbatch $0 PHOTOS RUN [options of headstart train ...]" >&2
  exit 2
fi
photos=$1 run=$2
shift 2
# torchrun sets this only for several processes per machine. Sums depend on it, so it must be the same everywhere.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# Decided here, once for all processes: while some start, others may already have begun the run.
if [[ -e $run/config.toml ]]; then command=(resume "$run"); else command=(train "$photos" --out "$run" "$@"); fi
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
srun python -m torch.distributed.run \
  --nnodes="$SLURM_NNODES" --nproc-per-node="${NUM_PROCESSES:-gpu}" \
  --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="${hosts[0]}:${RENDEZVOUS_PORT:-29500}" \
  -m headstart "${command[@]}"
