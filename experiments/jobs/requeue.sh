#!/usr/bin/env bash
# Run a command within a SLURM job. Where it was stopped with everything saved, which exit code 143
# says, the job is queued again, and the same command goes on.
#
#     exec experiments/jobs/requeue.sh srun physjax train ...
set -u

ended=0
# SIGTERM comes to every process of a job that is preempted, cancelled or out of time. The command
# saves then; this shell waits for it, and leaves to SLURM what becomes of the job.
trap 'ended=1' TERM
trap '' USR1

"$@" &
child=$!
code=0
while kill -0 "$child" 2>/dev/null; do # a signal ends `wait`, and not what it waits for
  wait "$child"
  code=$?
done
wait "$child" 2>/dev/null
last=$?
[ "$last" -eq 127 ] || code=$last # 127: `wait` has told its code already

if [ "$code" -eq 143 ] && [ "$ended" -eq 0 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  echo "saved before the time was up; job $SLURM_JOB_ID is queued again"
  # This ends the job, with SIGTERM first, and starts it anew when there is room.
  scontrol requeue "$SLURM_JOB_ID"
  wait
fi
exit "$code"
