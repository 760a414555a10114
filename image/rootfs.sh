#!/bin/sh
# rootfs.sh PROGRAM FOLDER SHA TAG TIME: lays out the root file system of the image: the program, the libraries it links,
# certificates, a shell, and the few files that every process expects.
set -eu
program=$1 root=$2
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/usr/lib/x86_64-linux-gnu" "$root/usr/lib64" "$root/config" "$root/run" "$root/dev" \
    "$root/proc" "$root/sys" "$root/var" "$root/opt/lucebox-hub/server" "$root/opt/lucebox-hub/share/model_cards"
ln -s usr/bin "$root/bin"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
ln -s ../run "$root/var/run"
# Sticky and open: whoever the container runs as may write there, and a fresh volume takes this over.
mkdir -m 1777 "$root/tmp" "$root/models"

cp "$program" "$root/usr/bin/lucebox"
chmod 755 "$root/usr/bin/lucebox"
# The libraries, under the paths where the loader looks. The driver's come from the host at run time and must not be shipped.
ldd "$program" | sed -n 's/.* => \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' | while read -r library; do
    case $library in
    */libcuda.so* | */libnvidia-*) echo "error: $program links the driver: $library" >&2; exit 1 ;;
    esac
    case $library in
    */ld-linux-*) target=$root/usr/lib64/$(basename "$library") ;;
    *) target=$root/usr/lib/x86_64-linux-gnu/$(basename "$library") ;;
    esac
    cp -L "$library" "$target"
done
if ldd "$program" | grep -q 'not found'; then
    echo "error: $program needs libraries that are not here:" >&2
    ldd "$program" | grep 'not found' >&2
    exit 1
fi

cp "$(command -v busybox)" "$root/usr/bin/busybox"
ln -s busybox "$root/usr/bin/sh"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/tmp:/bin/sh\nlucebox:x:65532:65532:lucebox:/tmp:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nlucebox:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf '/usr/lib/x86_64-linux-gnu\n/usr/lib64\n/usr/lib/wsl/lib\n' >"$root/etc/ld.so.conf"
# By this file the toolkit knows where the distribution keeps its libraries.
printf '12\n' >"$root/etc/debian_version"
printf 'PRETTY_NAME="Lucebox image"\nID=lucebox\n' >"$root/etc/os-release"

printf '%s\n%s\n%s\n' "$3" "$4" "$5" >"$root/opt/lucebox-hub/IMAGE_INFO"
# Where earlier images expected models.
ln -s /models "$root/opt/lucebox-hub/server/models"
here=$(cd "$(dirname "$0")" && pwd)
# Drafts that come with the program, and model cards, when the repository has them.
for draft in "$here/../models/"*.dflash.gguf; do
    [ -f "$draft" ] || continue
    mkdir -p "$root/usr/share/lucebox/models"
    cp "$draft" "$root/usr/share/lucebox/models/"
done
if [ -d "$here/../models/cards" ]; then cp "$here/../models/cards/"* "$root/opt/lucebox-hub/share/model_cards/"; fi
