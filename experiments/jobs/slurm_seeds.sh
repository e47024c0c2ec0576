#!/usr/bin/env bash
# SLURM: a job array with a run for each seed, each on one node with all GPUs that it is given.
#
#     sbatch --array=0-4 experiments/jobs/slurm_seeds.sh --model physics --dataset cifar10
#
# Submit it from the checkout. Options of sbatch go before the file's name and come before the
# settings below; options of `physjax train` go behind it.
#
# What `squeue` calls it.
#SBATCH --job-name=physjax-seeds
# One process, which uses all GPUs of its node.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
# CPU cores and GPUs of the node for it: fewer GPUs for small networks.
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
# The longest that it may take before it is saved and queued again.
#SBATCH --time=4:00:00
# Seconds before that at which the training is told, to save and stop. SIGUSR1 comes to what `srun`
# starts, not to this shell.
#SBATCH --signal=USR1@120
# When it is preempted or its node fails, it is queued again, and goes on where it was saved.
#SBATCH --requeue
# What it says, of all its starts in one file.
#SBATCH --output=slurm-%x-%A_%a.out
#SBATCH --open-mode=append
set -eu

PATH="$PWD/.venv/bin:$PATH"
# A step does not inherit --cpus-per-task, since SLURM 22.05.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
# `exec`: nothing stands between SLURM and the shell that waits and queues the job again.
exec experiments/jobs/requeue.sh srun physjax train --seed "${SLURM_ARRAY_TASK_ID:-0}" "$@"
