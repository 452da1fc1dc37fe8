#!/bin/sh
# One job on workers of different speed: a registrar, two fast workers and a slow one on this machine. The slow one is
# modelled: its tasks find SPEED=slow in their environment and take four times as long. Work is handed out as it is done,
# so nobody waits for the slow one at the end.
#
#   examples/slow-and-fast.sh [TASKS]        default: 60, of 0.1 s on a fast worker
set -eu
tasks=${1:-60}
folder=$(mktemp -d "${TMPDIR:-/tmp}/speeds.XXXXXX")
pids=
trap 'kill $pids 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT

# What a process says on standard error names the address it got; wait for that line.
said() { until grep -q "$2" "$folder/$1" 2>/dev/null; do kill -0 "$3" || { cat "$folder/$1" >&2; exit 1; }; sleep 0.05; done; }
rsp registrar --listen 127.0.0.1:0 --enrp 127.0.0.1:0 2>"$folder/registrar" & pids="$!"
said registrar 'serves ASAP' "$!"
RSP_REGISTRAR=$(sed -n 's/.*tcp:\/\/\([0-9.:]*\).*/\1/p' "$folder/registrar" | head -n 1)
export RSP_REGISTRAR
for speed in fast1 fast2 slow; do
  SPEED=$speed rsp worker --slots 1 2>"$folder/$speed" & pids="$pids $!"
  said "$speed" 'serves pool' "$!"
done

begun=$(date +%s%N)
seq "$tasks" | rsp run -- sh -c '
  if [ "$SPEED" = slow ]; then sleep 0.4; else sleep 0.1; fi
  echo "$SPEED"
' {} | sort | uniq -c
# Together the three do 2.25 times what a fast one does.
echo "$begun $(date +%s%N) $tasks" | awk '{ printf "%.1f s; ideally %.1f s\n", ($2 - $1) / 1e9, $3 * 0.1 / 2.25 }'
