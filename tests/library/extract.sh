#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first C program of a Markdown file. Usage: extract.sh FILE
set -eu
awk '/^```c$/ { inside = 1; next } /^```$/ && inside { exit } inside' "${1:?usage: extract.sh FILE}"
