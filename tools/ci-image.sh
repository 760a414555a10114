#!/usr/bin/env bash
# The steps of the image workflow on a hosted runner.
#
#   ci-image.sh reclaim            frees about 30 GB: toolchains that come with the runner and are not used
#   ci-image.sh build TARGET       builds a target of docker-bake.hcl; with PUSH=true pushes it, with SBOM and provenance
#   ci-image.sh smoke IMAGE [OPTION OF DOCKER...]   starts an image on the CPU, on port $PORT (8080), and asks it what a user would
#
# build reads IMAGE (without tag), TAGS, ARCHES, VERSION, GIT_SHA, PUSH.
set -euo pipefail

reclaim() {
    df -h / | tail -n 1
    sudo rm -rf /usr/local/lib/android /usr/share/dotnet /opt/ghc /usr/local/.ghcup /opt/hostedtoolcache/CodeQL
    sudo swapoff -a && sudo rm -f /mnt/swapfile
    df -h / | tail -n 1
}

build() {
    local target=$1 tag time
    local -a named=() more=()
    for tag in ${TAGS:?}; do named+=(--set "$target.tags=$IMAGE:$tag"); done
    # A builder of its own: the built-in one makes no attestations and exports no cache.
    docker buildx inspect lucebox >/dev/null 2>&1 || docker buildx create --name lucebox --driver docker-container >/dev/null
    more+=(--set "$target.cache-from=type=registry,ref=$IMAGE:buildcache-$target")
    if [ "${PUSH:-false}" = true ]; then
        more+=(--push --sbom=true --provenance=mode=max --set "$target.cache-to=type=registry,ref=$IMAGE:buildcache-$target,mode=max")
    fi
    time=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
    DFLASH_CUDA_ARCHES=$ARCHES GIT_SHA=$GIT_SHA IMAGE_TAG=$VERSION BUILD_TIME=$time \
        docker buildx bake --builder lucebox "$target" "${named[@]}" "${more[@]}"
}

smoke() {
    local image=$1 i address=127.0.0.1:${PORT:-8080}
    shift
    docker run --rm "$image" lucebox version --json
    docker run -d --name lucebox-smoke -p "$address:8080" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
        -e LUCEBOX_DEVICE=cpu "$@" "$image"
    trap 'docker logs lucebox-smoke; docker rm -f lucebox-smoke >/dev/null' EXIT
    for ((i = 0; i < 300; i++)); do
        if docker exec lucebox-smoke lucebox healthcheck 2>/dev/null; then break; fi
        sleep 1
    done
    docker exec lucebox-smoke lucebox healthcheck
    docker exec lucebox-smoke lucebox smoke
    # From outside, through the published port.
    curl -fsS "http://$address/props" >/dev/null
    # It must end by itself within the ten seconds that docker gives.
    docker stop -t 10 lucebox-smoke >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' lucebox-smoke)" = 0 ]
}

"$@"
