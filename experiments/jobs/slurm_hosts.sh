#!/usr/bin/env bash
# SLURM: one run over several nodes, with all GPUs of each.
#
#     sbatch --nodes=4 experiments/jobs/slurm_hosts.sh --model resnet18 --runs-dir /shared/runs
#
# Submit it from the checkout. The checkout, the data and --runs-dir lie where all nodes see them.
# Options of sbatch go before the file's name, those of `physjax train` behind it.
#
# What `squeue` calls it.
#SBATCH --job-name=physjax-hosts
# Machines, and one process on each of them, which uses all its GPUs.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
# Cores and GPUs of each node: the batch is divided over nodes x GPUs.
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
# No other job on these nodes: the slowest one sets the pace.
#SBATCH --exclusive
# The longest that it may take before it is saved and queued again.
#SBATCH --time=12:00:00
# Seconds before that at which every process is told, to save and stop at one and the same step.
#SBATCH --signal=USR1@180
# When it is preempted or a node fails, it is queued again, also for other nodes.
#SBATCH --requeue
# What it says, of all its starts in one file.
#SBATCH --output=slurm-%x-%j.out
#SBATCH --open-mode=append
set -eu

PATH="$PWD/.venv/bin:$PATH"
# A step does not inherit --cpus-per-task, since SLURM 22.05.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
# The processes find each other by SLURM's variables. They also end each other, and say why; srun
# must not kill those that still save because the first one has ended.
exec experiments/jobs/requeue.sh srun --kill-on-bad-exit=0 physjax train --distributed "$@"
