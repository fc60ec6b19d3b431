#!/usr/bin/env bash
# Builds random projects with a real Docker engine and compares what it reuses with what `layerlint why` says, and
# images, fresh and stale ones, of which `layerlint verify` must tell which is which; and it holds the engine's own logs
# against `layerlint log`.
# Installs what is missing (Debian's docker.io, busybox-static and make), starts an engine of its own on a private socket,
# and takes it and its data away again whatever happens. Other engines are not touched. Needs root.
#
#   LAYERLINT_LIVE_CASES=200   edits to compare
#   LAYERLINT_LIVE_SEED=1      other numbers are other projects and edits
#   LAYERLINT_LIVE_CASE=17     only this one, printed in full
#   LAYERLINT_LIVE_MAY_SKIP=1  success, not failure, where no engine can run
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
  echo "SKIPPED: the live suite did not run: $*"
  if [ "${LAYERLINT_LIVE_MAY_SKIP:-}" = 1 ]; then exit 0; fi
  echo "(LAYERLINT_LIVE_MAY_SKIP=1 allows that)"
  exit 1
}

[ "$(uname -s)" = Linux ] || skip "it needs Linux"
[ "$(id -u)" = 0 ] || skip "an engine can be started by root only"

missing=()
[ -x /usr/bin/docker ] && command -v dockerd > /dev/null || missing+=(docker.io)
# The shell of the images must not need libraries.
dpkg-query -W -f '${Status}' busybox-static 2> /dev/null | grep -q 'ok installed' || missing+=(busybox-static)
command -v make > /dev/null || missing+=(make)
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get > /dev/null || skip "${missing[*]} cannot be installed without apt-get"
  apt-get update -q
  # RUNLEVEL=1: the package's own service stays down.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

# Built first, so that nothing waits for the compiler while an engine runs.
cargo test --locked --all-features --test live --test live_images --test live_log --no-run

# In memory, if there is room: builds take a third of the time.
place=${TMPDIR:-/tmp}
if [ "$(df --output=avail -k /dev/shm 2> /dev/null | tail -n 1)" -gt 1500000 ] 2> /dev/null; then place=/dev/shm; fi
home=$(mktemp -d "$place/layerlint-live.XXXXXX")
daemon=

clean_up() {
  trap - EXIT INT TERM
  set +e
  if [ -n "$daemon" ]; then
    kill -TERM "$daemon" 2> /dev/null
    for _ in $(seq 100); do
      kill -0 -- "-$daemon" 2> /dev/null || break
      sleep 0.1
    done
    # What is left of its process group, which nothing else is in.
    kill -KILL -- "-$daemon" 2> /dev/null
    wait "$daemon" 2> /dev/null
  fi
  grep -o " $home/[^ ]*" /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
  rm -rf "$home"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

mkdir "$home/tmp" "$home/client"
export LAYERLINT_LIVE_HOST=unix://$home/docker.sock DOCKER_CONFIG=$home/client TMPDIR=$home/tmp
setsid dockerd -H "$LAYERLINT_LIVE_HOST" --data-root "$home/root" --exec-root "$home/exec" -p "$home/pid" \
  --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs > "$home/log" 2>&1 &
daemon=$!
for attempt in $(seq 300); do
  if DOCKER_HOST=$LAYERLINT_LIVE_HOST /usr/bin/docker version > /dev/null 2>&1; then break; fi
  if [ "$attempt" = 300 ] || ! kill -0 "$daemon" 2> /dev/null; then
    tail -n 30 "$home/log"
    skip "the engine does not start"
  fi
  sleep 0.2
done
DOCKER_HOST=$LAYERLINT_LIVE_HOST /usr/bin/docker version --format 'Docker engine {{.Server.Version}}'
cargo test --locked --all-features --test live_images -- --ignored --nocapture
cargo test --locked --all-features --test live_log -- --ignored --nocapture --test-threads=1
cargo test --locked --all-features --test live -- --ignored --nocapture
