#!/usr/bin/env bash
# What the image workflow does for one event of GitHub, as lines name=value for $GITHUB_OUTPUT:
#
#   push     true if images may be pushed
#   tags     of the image, separated by blanks
#   arches   CUDA architectures to compile for
#   version  what the image says of itself
#
# Read from the environment: EVENT (github.event_name), REF (github.ref), SHA, TAG_NAME (of a release), PRERELEASE, NUMBER (of a pull
# request), DISPATCH_PUSH, REPOSITORY and HEAD_REPOSITORY (of a pull request), VARIANT.
set -euo pipefail

full='75;80;86;89;90;120'
fast=86 # one architecture for pull requests; that the full list is well-formed is a test
variant=${VARIANT:-cuda12}
short=${SHA:0:7}
[[ ${SHA:-} =~ ^[0-9a-f]{40}$ ]] || { echo "error: SHA is no commit: ${SHA:-}" >&2; exit 64; }

push=false tags='' arches=$full
case ${EVENT:?} in
push)
    [ "${REF:?}" = refs/heads/main ] || { echo "error: only main is built, not $REF" >&2; exit 64; }
    push=true
    tags="$variant sha-$short-$variant" ;;
release)
    if [[ ${TAG_NAME:?} =~ ^v([0-9]+\.[0-9]+)\.[0-9]+$ ]]; then
        tags="$TAG_NAME-$variant"
        # A pre-release is never what a minor series points at.
        [ "${PRERELEASE:-false}" = true ] || tags+=" ${BASH_REMATCH[1]}-$variant"
    elif [[ $TAG_NAME =~ ^v[0-9]+\.[0-9]+\.[0-9]+-[0-9A-Za-z.-]+$ ]]; then
        tags="$TAG_NAME-$variant"
    else
        echo "error: a release is named vX.Y.Z or vX.Y.Z-SUFFIX, not $TAG_NAME" >&2
        exit 64
    fi
    push=true ;;
pull_request)
    # From a fork or not: built, never pushed.
    [[ ${NUMBER:?} =~ ^[0-9]+$ ]] || { echo "error: $NUMBER is no number of a pull request" >&2; exit 64; }
    tags="pr-$NUMBER-$variant"
    arches=$fast ;;
workflow_dispatch)
    tags="sha-$short-$variant"
    if [ "${DISPATCH_PUSH:-false}" = true ]; then
        push=true
        [ "${REF:?}" != refs/heads/main ] || tags="$variant $tags"
    fi ;;
*)
    echo "error: nothing is built for $EVENT" >&2
    exit 64 ;;
esac
printf 'push=%s\ntags=%s\narches=%s\nversion=%s\n' "$push" "$tags" "$arches" "${tags%% *}"
