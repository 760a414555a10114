#!/usr/bin/env bash
# install-packages.sh [tests]: installs the Debian packages that the build needs (and, with `tests`, those of the tests
# and of the developer's tools), saying which before it does. Does nothing when all are present. Needs root, or sudo.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libfmt-dev nlohmann-json3-dev libgtest-dev libgmock-dev
    libspdlog-dev libtomlplusplus-dev libcli11-dev libboost1.81-dev libcurl4-openssl-dev zlib1g-dev
    ca-certificates python3)
[ "${1:-}" != tests ] || packages+=(clang libclang-rt-14-dev clang-tidy clang-format llvm python3-venv python3-pip python3-yaml
    python3-jsonschema bats shellcheck buildah mmdebstrap chromium docker-compose podman-compose)

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "==> installing Debian packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "error: not root and no sudo; run: apt-get install ${missing[*]}" >&2; exit 69; }
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
