#!/bin/sh
# One strip of the picture: rows FIRST to LAST of SCENE, as raw pixels (red, green, blue; row by row) on standard output.
#
#   render-strip.sh SCENE WIDTH HEIGHT FIRST LAST
set -eu
scene=$1 width=$2 height=$3 first=$4 last=$5
folder=$(mktemp -d "${TMPDIR:-/tmp}/strip.XXXXXX")
trap 'rm -rf "$folder"' EXIT
# One thread: the pool has as many slots as there are cores. Without antialiasing a pixel does not depend on its neighbours.
if ! said=$(povray "+I$scene" "+W$width" "+H$height" "+SR$first" "+ER$last" +WT1 -A -D +FP \
  "+O$folder/part.ppm" 2>&1); then
  printf '%s\n' "$said" | tail -n 5 >&2
  exit 1
fi
# POV-Ray writes the whole picture, black where it did not render: behind a header, the pixels are what the file ends with.
tail -c $((width * height * 3)) "$folder/part.ppm" | tail -c +$(((first - 1) * width * 3 + 1)) | head -c $(((last - first + 1) * width * 3))
