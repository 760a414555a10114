#!/usr/bin/env bash
# Installs the lucebox wrapper from a channel: a folder with SHA256SUMS and the files that make up the wrapper.
#
#   LUCEBOX_INSTALL_URL      the folder to fetch from; a fork, a branch and a release work alike
#   LUCEBOX_INSTALL_DEST     where to put it (~/.local/bin/lucebox)
#   LUCEBOX_INSTALL_CHANNEL  the folder that `lucebox update` asks later, if another one
#   LUCEBOX_INSTALL_SHA256   what the checksum of SHA256SUMS must be, if you know it from elsewhere
#
# Everything is inside main(), so that a download that was cut off runs nothing.
set -euo pipefail

main() {
    local url=${LUCEBOX_INSTALL_URL:-https://raw.githubusercontent.com/Luce-Org/lucebox-hub/main/host}
    local destination=${LUCEBOX_INSTALL_DEST:-${HOME:?HOME is not set}/.local/bin/lucebox}
    url=${url%/} url=${url%/install.sh} url=${url%/lucebox}
    local channel=${LUCEBOX_INSTALL_CHANNEL:-$url}
    have curl || fail 'curl is needed' 'install it with the package manager'
    have sha256sum || fail 'sha256sum is needed' 'it is in coreutils'
    check_channel "$url" "$channel"

    FOLDER=$(mktemp -d)
    trap 'rm -rf "$FOLDER"' EXIT
    fetch "$url" SHA256SUMS
    if [ -n "${LUCEBOX_INSTALL_SHA256:-}" ] && [ "$(sha256sum <"$FOLDER/SHA256SUMS" | cut -d' ' -f1)" != "$LUCEBOX_INSTALL_SHA256" ]; then
        fail 'SHA256SUMS is not the one you asked for' 'nothing was installed'
    fi
    local sum name parts=0
    while read -r sum name; do
        name=${name#\*}
        case $name in
        install.sh) continue ;;
        lucebox | parts/[0-9][0-9]-*.sh) ;;
        *) fail "SHA256SUMS lists $name, which does not belong there" ;;
        esac
        case ${name#parts/} in */* | *..*) fail "SHA256SUMS lists $name, which does not belong there" ;; esac
        fetch "$url" "$name"
        [ "$(sha256sum <"$FOLDER/$name" | cut -d' ' -f1)" = "$sum" ] || fail "$name is damaged: its checksum is wrong" 'nothing was installed; try again'
        # A part's name begins with its place, and the list is in that order.
        cat "$FOLDER/$name" >>"$FOLDER/joined"
        parts=$((parts + 1))
    done < <(LC_ALL=C sort -k2 "$FOLDER/SHA256SUMS")
    [ "$parts" -gt 0 ] || fail "$url/SHA256SUMS lists no file of the wrapper" 'check the address'

    sed -i "s|^LUCEBOX_INSTALLED_FROM=.*|LUCEBOX_INSTALLED_FROM='$channel'|" "$FOLDER/joined"
    printf '# channel checksum %s\n' "$(LC_ALL=C sort <"$FOLDER/SHA256SUMS" | sha256sum | cut -d' ' -f1)" >>"$FOLDER/joined"
    [ "$(head -n 1 "$FOLDER/joined")" = '#!/usr/bin/env bash' ] || fail 'what was fetched is no wrapper' 'check the address'
    grep -q '^VERSION=[0-9]' "$FOLDER/joined" || fail 'what was fetched has no version' 'check the address'
    bash -n "$FOLDER/joined" 2>/dev/null || fail 'what was fetched is no valid script' 'check the address'

    mkdir -p "$(dirname "$destination")"
    # The earlier file stays beside it, for lucebox update --rollback.
    if [ -e "$destination" ]; then cp -p "$destination" "$destination.previous"; fi
    chmod 755 "$FOLDER/joined"
    cp "$FOLDER/joined" "$destination.new"
    mv -f "$destination.new" "$destination"
    printf 'installed %s at %s\n' "$("$destination" version)" "$destination"
    # shellcheck disable=SC2016 # the dollar is for the reader's shell
    case :$PATH: in
    *:"$(dirname "$destination")":*) ;;
    *) printf 'put it on the PATH:  export PATH="%s:$PATH"\n' "$(dirname "$destination")" ;;
    esac
    printf 'next:  lucebox check    lucebox pull    lucebox models download    lucebox serve\n'
}

have() { command -v "$1" >/dev/null 2>&1; }

fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
    exit 1
}

# An address that names one commit never changes, so updates would find nothing for ever.
check_channel() {
    local frozen='/[0-9a-f]{40}(/|$)'
    if [[ $1 =~ $frozen ]] && [ -z "${LUCEBOX_INSTALL_CHANNEL:-}" ]; then
        fail 'this address is pinned to one commit, so lucebox update would never find anything' \
            'set LUCEBOX_INSTALL_CHANNEL to the address of the branch, or install from there'
    fi
    if [[ $2 =~ $frozen ]]; then fail 'the channel is pinned to one commit' 'name a branch or a release'; fi
    case $2 in *[\'\"\$\`\\\|\&\ ]* | *$'\n'*) fail 'the channel holds a character that an address should not have' ;; esac
    case $1 in https://* | file://* | http://127.0.0.1* | http://localhost*) ;; *) fail "$1 is not https" ;; esac
}

fetch() {
    mkdir -p "$(dirname "$FOLDER/$2")"
    curl -fsSL --proto '=https,http,file' --retry 2 -o "$FOLDER/$2" "$1/$2" || fail "$1/$2 cannot be fetched" 'check the network and the address'
    [ -s "$FOLDER/$2" ] || fail "$1/$2 is empty" 'check the address'
}

main "$@"
