#!/bin/sh
# A parameter sweep over a real program: which setting of xz is worth its time? Every level times two filters is a task;
# the table comes in the order of the parameters.
#
#   examples/sweep.sh FILE
set -eu
[ $# -eq 1 ] || { echo "usage: examples/sweep.sh FILE" >&2; exit 2; }
file=$(realpath "$1")
printf '%-6s %-8s %10s %8s\n' level match octets seconds
rsp run --keep-order -- sh -c '
  begun=$(date +%s%N)
  octets=$(xz --format=raw --threads=1 --lzma2="preset=$1,mf=$2" --stdout "$0" | wc -c)
  ended=$(date +%s%N)
  printf "%-6s %-8s %10d %8s\n" "$1" "$2" "$octets" "$(echo "$begun $ended" | awk "{ printf \"%.2f\", (\$2 - \$1) / 1e9 }")"
' "$file" {1} {2} ::: 0 1 3 6 ::: hc4 bt4
