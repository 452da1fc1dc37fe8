#!/bin/sh
# A real picture in strips, each a task: POV-Ray (Debian: povray) renders spheres.pov on the pool.
#
#   examples/render.sh [FILE [WIDTH [HEIGHT [STRIPS]]]]         default: spheres.ppm 1280 720 24
#
# Without a pool at hand `rsp run` starts a private one. With RSP_REGISTRAR and workers elsewhere, every machine needs
# povray; the scene and the script travel with --input.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
file=${1:-spheres.ppm} width=${2:-1280} height=${3:-720} strips=${4:-24}
command -v povray >/dev/null || { echo "povray is missing: apt-get install povray" >&2; exit 1; }

strip=0
while [ "$strip" -lt "$strips" ]; do
  echo "$((strip * height / strips + 1)) $(((strip + 1) * height / strips))"
  strip=$((strip + 1))
done |
  # Each line becomes one argument; the shell in the task splits it into FIRST and LAST.
  rsp run --keep-order -- sh -c '"$0" "$1" "$2" "$3" $4' "$here/render-strip.sh" "$here/spheres.pov" "$width" "$height" {} \
    >"$file.pixels"
# --keep-order: the strips, one after the other, are the picture.
{ printf 'P6\n%d %d\n255\n' "$width" "$height"; cat "$file.pixels"; } >"$file"
rm "$file.pixels"
echo "$file: ${width}x$height in $strips strips" >&2
