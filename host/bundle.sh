#!/usr/bin/env bash
# bundle.sh FOLDER: the wrapper as one file, with install.sh and SHA256SUMS: what a release offers for download.
# bundle.sh --sums: writes SHA256SUMS here, over the parts, which makes this folder itself a channel (of a branch or fork).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" = --sums ]; then
    cd "$here"
    sha256sum install.sh parts/*.sh >SHA256SUMS
    exit
fi
[ $# -eq 1 ] || { echo "usage: host/bundle.sh FOLDER | --sums" >&2; exit 2; }
mkdir -p "$1"
cat "$here"/parts/*.sh >"$1/lucebox"
chmod 755 "$1/lucebox"
cp "$here/install.sh" "$1/"
cd "$1"
sha256sum install.sh lucebox >SHA256SUMS
