#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A hook before ours: writes down when libvirt called, and fails where the test asks for that.
cat >/dev/null
echo "$(date +%s.%N) hook $2 $3 $4" >>/run/hooks.log
[ ! -e "/run/fail-$2" ] || { echo "the other hook does not want it" >&2 && exit 1; }
