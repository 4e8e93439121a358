#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each public header compiles by itself, as C and as C++, also for users with strict compilers.
# Usage: headers.sh CC CXX INCLUDE-FOLDER; CXX may be empty. Prints TAP.
set -u
cc=${1:?usage: headers.sh CC CXX INCLUDE-FOLDER}
cxx=${2?usage: headers.sh CC CXX INCLUDE-FOLDER}
folder=${3:?usage: headers.sh CC CXX INCLUDE-FOLDER}
glib=$(pkg-config --cflags glib-2.0 | sed 's/-I/-isystem /g') || exit 2
warnings='-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror'
number=0
failed=0

# try COMPILER LANGUAGE STANDARD HEADER
try()
{
    local out
    number=$((number + 1))
    # shellcheck disable=SC2086
    if out=$(printf '#include <%s>\n#include <%s>\n' "$4" "$4" |
        $1 -x "$2" -std="$3" -fsyntax-only $warnings -I "$folder" $glib - 2>&1); then
        echo "ok $number - $4 as $3"
    else
        echo "not ok $number - $4 as $3"
        echo "# ${out//$'\n'/$'\n'# }"
        failed=1
    fi
}

mapfile -t headers < <(cd "$folder" && ls vdpa-tracker/*.h)
echo 1..$((${#headers[@]} * 2))
for header in "${headers[@]}"; do
    try "$cc" c c11 "$header"
    if [ -n "$cxx" ]; then
        try "$cxx" c++ c++17 "$header"
    else
        number=$((number + 1))
        echo "ok $number - $header as c++17 # SKIP no C++ compiler"
    fi
done
exit $failed
