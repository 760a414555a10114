# --- lucebox update: this file itself ------------------------------------------------------------------------------------------------
#
# A channel is a folder with SHA256SUMS, install.sh, and the files that make up the wrapper. Nothing runs before its
# checksum was right. The checksums come from the same place, so they protect against damage, not against the channel.

update_command() {
    local action=${1:-install} self channel
    self=$(readlink -f "$0")
    case $action in
    --rollback)
        [ -e "$self.previous" ] || die 'there is no earlier version to go back to'
        local spare
        spare=$(mktemp "$self.XXXXXX")
        cp -p "$self" "$spare"
        mv -f "$self.previous" "$self"
        mv -f "$spare" "$self.previous"
        ok "back at $("$self" version)"
        return ;;
    --check | install) ;;
    *) usage_error "update has no option $action" 'lucebox update [--check|--rollback]' ;;
    esac
    channel=${LUCEBOX_INSTALL_URL:-$LUCEBOX_INSTALLED_FROM}
    [ -n "$channel" ] || die 'it is not known where this wrapper came from' 'from a checkout: git pull' 'else: LUCEBOX_INSTALL_URL=https://... lucebox update'
    have curl || die 'update needs curl' 'install it with the package manager'
    UPDATE_FOLDER=$(mktemp -d)
    trap 'rm -rf "$UPDATE_FOLDER"' EXIT
    channel_file "$channel" SHA256SUMS
    if [ "$(checksum_of_all <"$UPDATE_FOLDER/SHA256SUMS")" = "$(installed_checksum)" ]; then
        ok "version $VERSION is the newest of $channel"
        return
    fi
    if [ "$action" = --check ]; then
        info "a newer wrapper is at $channel"
        hint 'lucebox update'
        return
    fi
    channel_file "$channel" install.sh
    local line
    line=$(grep -E '^[0-9a-f]{64} [ *]install\.sh$' "$UPDATE_FOLDER/SHA256SUMS") || die "$channel/SHA256SUMS does not list install.sh"
    (cd "$UPDATE_FOLDER" && sha256sum --quiet -c - <<<"$line" >/dev/null 2>&1) ||
        die 'the installer is damaged: its checksum is wrong' 'try again; nothing was changed'
    LUCEBOX_INSTALL_URL=$channel LUCEBOX_INSTALL_DEST=$self bash "$UPDATE_FOLDER/install.sh"
}

channel_file() {
    curl -fsSL --proto '=https,http,file' --retry 2 -o "$UPDATE_FOLDER/$2" "${1%/}/$2" || die "$1/$2 cannot be fetched" 'check the network and the address'
    [ -s "$UPDATE_FOLDER/$2" ] || die "$1/$2 is empty" 'check the address'
}

# What install.sh recorded in the last line of this file: a checksum over the channel's own list.
checksum_of_all() { LC_ALL=C sort | sha256sum | cut -d' ' -f1; }
installed_checksum() { sed -n 's/^# channel checksum //p' "$(readlink -f "$0")"; }
