#!/bin/sh
# build-packages.sh compile|layout: the packages that stage one needs to compile, or only to lay out the image.
set -eu
packages='ca-certificates busybox-static libc-bin'
if [ "$1" = compile ]; then
    packages="$packages g++ cmake ninja-build pkg-config libfmt-dev nlohmann-json3-dev libtomlplusplus-dev libspdlog-dev libcli11-dev
        libcurl4-openssl-dev zlib1g-dev"
fi
missing=
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || [ "$1" = compile ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
if [ "$1" = compile ]; then
    # Distributions name Boost's packages by version; any from 1.81 on will do.
    boost=$(apt-cache --names-only search '^libboost1\.[0-9]*-dev$' | sed -n 's/^\(libboost1\.[0-9]*-dev\) .*/\1/p' | sort -V | tail -n 1)
    missing="$missing $boost"
fi
# shellcheck disable=SC2086 # words are meant
apt-get install -y -qq --no-install-recommends $missing
rm -rf /var/lib/apt/lists/*
