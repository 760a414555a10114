#!/usr/bin/env bash
# changed-sources.sh [all]: C++ files that differ from main (also uncommitted), or all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
    git ls-files '*.cpp' '*.h'
else
    { git diff --name-only --diff-filter=d main -- '*.cpp' '*.h'; git ls-files --others --exclude-standard '*.cpp' '*.h'; } | sort -u
fi
