#!/usr/bin/env bash
# lucebox: runs the Lucebox server in a container and looks after it.
#
# Needs bash 4, docker, and nvidia-smi for a GPU; nothing else beyond what every Linux has. Results go to standard
# output, everything said to a person goes to standard error, so that output can be piped.
set -euo pipefail

VERSION=0.1.0
# The channel this file was installed from; install.sh fills it in and `lucebox update` asks it again.
LUCEBOX_INSTALLED_FROM=

# Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 78 wrong configuration, 130 interrupted; else docker's own.
EXIT_USAGE=2
EXIT_CONFIG=78
# What starting once more cannot mend: those two, and the program's for a wrong setting, a broken file, and a model that is not there.
EXITS_FOR_GOOD="$EXIT_USAGE 64 65 66 $EXIT_CONFIG"

if [ "${BASH_VERSINFO[0]}" -lt 4 ]; then
    echo "[ERROR] lucebox needs bash 4 or newer; this is $BASH_VERSION" >&2
    exit 1
fi
