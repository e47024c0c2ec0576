#!/usr/bin/env bash
# Cloud TPU VM: one run on a slice, the same command on all its hosts; made anew when it is lost.
#
#     TPU=my-slice ZONE=europe-west4-b TYPE=v5litepod-16 SHARED=/mnt/shared \
#         experiments/jobs/tpu_vm.sh --model resnet18
#
# It runs where `gcloud` is set up, as long as the training does. All options go to `physjax train`.
set -eu

: "${TPU:?the name of the slice}"
: "${ZONE:?its zone}"
# Kind and number of chips. A spot slice costs less, and is preempted.
TYPE="${TYPE:-v5litepod-16}"
# The system of its hosts.
VERSION="${VERSION:-v2-alpha-tpuv5-lite}"
# What the hosts check out: the code belongs to the run.
SOURCE="${SOURCE:-$(git remote get-url origin)}"
COMMIT="${COMMIT:-$(git rev-parse HEAD)}"
# A folder that all hosts see: NFS, or a bucket mounted by gcsfuse. Checkpoints lie in it.
: "${SHARED:?a folder that all hosts see}"

tpu() { gcloud compute tpus tpu-vm "$1" "$TPU" --zone="$ZONE" "${@:2}"; }
# The same on every host of the slice, at the same time.
everywhere() { tpu ssh --worker=all --command="$1"; }

create() {
  tpu create --accelerator-type="$TYPE" --version="$VERSION" --spot
  everywhere "git clone --quiet $(printf %q "$SOURCE") physjax && cd physjax \
    && git checkout --quiet $(printf %q "$COMMIT") && make setup EXTRAS=tpu"
}

options="$(printf '%q ' "$@")"
while true; do
  # Whatever state a preempted slice is in, it does not come back: it is deleted first.
  state="$(tpu describe --format='value(state)' 2>/dev/null || true)"
  if [ "$state" != READY ]; then
    [ -z "$state" ] || tpu delete --quiet
    create || { sleep "${PAUSE:-300}"; continue; } # no room now
  fi
  # SIGTERM comes to the hosts when the slice is preempted; they save, and end with 143. What ssh
  # and gcloud make of several hosts' exit codes is not relied on: the hosts say theirs.
  code="$(everywhere "cd physjax && .venv/bin/physjax train --distributed \
    --runs-dir=$(printf %q "$SHARED/runs") $options; echo \"physjax ended with \$?\"" 2>&1 \
    | tee /dev/stderr | sed -n 's/^.*physjax ended with \([0-9][0-9]*\)$/\1/p' | sort -n | tail -n 1)"
  case "$code" in
    0) exit 0 ;;
    "" | 143) ;; # the hosts are gone, or were told to go
    *) # An error of the training's own, unless another host was lost.
      [ "$(tpu describe --format='value(state)' 2>/dev/null || true)" != READY ] || exit "$code" ;;
  esac
  sleep "${PAUSE:-30}"
done
