#!/bin/sh
# cuda-arches.sh "75;80;86;89;90;120": the list as CMake wants it, "75-real;80-real;86-real;89-real;90a-real;120".
#
# Hopper's kernels use wgmma, which only its own variant 90a has. The newest architecture also brings PTX, so that cards that
# come later can run it.
set -eu
list=$(printf '%s' "$1" | tr -s ';, ' '[\n*]' | sed '/^$/d' | sort -un)
newest=$(printf '%s\n' "$list" | tail -n 1)
out=
for arch in $list; do
    case $arch in
    *[!0-9]*) echo "error: $arch is no architecture; write 86 for sm_86" >&2; exit 64 ;;
    esac
    if [ "$arch" -lt 75 ]; then
        echo "error: sm_$arch is older than the oldest card supported, sm_75" >&2
        exit 64
    fi
    name=$arch
    [ "$arch" != 90 ] || name=90a
    [ "$arch" = "$newest" ] || name=$name-real
    if [ "$name" = 90a ]; then name="90a-real;90-virtual"; fi
    out="$out${out:+;}$name"
done
[ -n "$out" ] || { echo 'error: no architecture is named' >&2; exit 64; }
printf '%s\n' "$out"
