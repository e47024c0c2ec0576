#!/usr/bin/env bash
# SLURM: the runs of a study, shared out over the tasks of a job array.
#
#     sbatch --array=1-8 experiments/jobs/slurm_study.sh --grid experiments/studies/paper.toml
#
# Submit it from the checkout. --results-dir and --runs-dir lie where all nodes see them. No run is
# made twice; the task that ends last makes tables and figures. More tasks than runs only wait.
#
# What `squeue` calls it.
#SBATCH --job-name=physjax-study
# A task is one process on one node, and makes one run after another.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
# The longest that a task may take before its run is saved and it is queued again.
#SBATCH --time=4:00:00
# Seconds before that at which it is told, to save and stop.
#SBATCH --signal=USR1@120
# When it is preempted or its node fails, it is queued again. Until then others may take its run.
#SBATCH --requeue
# What it says, of all its starts in one file.
#SBATCH --output=slurm-%x-%A_%a.out
#SBATCH --open-mode=append
set -eu

PATH="$PWD/.venv/bin:$PATH"
# A step does not inherit --cpus-per-task, since SLURM 22.05.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
shard="${SLURM_ARRAY_TASK_ID:-1}/${SLURM_ARRAY_TASK_COUNT:-1}"
exec experiments/jobs/requeue.sh srun physjax study --shard "$shard" "$@"
