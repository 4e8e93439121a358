#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Shell scripts give shellcheck nothing to say. Usage: shell.sh SOURCE-ROOT. Prints TAP.
set -u -o pipefail
export LC_ALL=C
cd "${1:?usage: shell.sh SOURCE-ROOT}" || exit 2

echo 1..1
command -v shellcheck >/dev/null || { echo "ok 1 # SKIP shellcheck is not installed" && exit 0; }

# By suffix, and programs without one by their first line.
mapfile -t scripts < <({
    find tools tests .ci -type f \( -name '*.sh' -o -name '*.bash' \)
    find tools tests .ci -type f ! -name '*.[a-z]*' -exec awk '
        FNR == 1 && /^#!.*[\/ ](ba|da)?sh( |$)/ { print FILENAME } { nextfile }' {} +
} 2>/dev/null | sort)
offenders=$(printf '%s\0' "${scripts[@]}" | xargs -0 -n 8 -P 2 shellcheck -x -f gcc 2>&1)
if [[ $? -eq 0 && -z $offenders && ${#scripts[@]} -gt 0 ]]; then
    echo "ok 1 - shellcheck finds nothing in ${#scripts[@]} scripts"
    exit 0
fi
echo "not ok 1 - shellcheck finds nothing in ${#scripts[@]} scripts"
echo "# ${offenders//$'\n'/$'\n'# }"
exit 1
