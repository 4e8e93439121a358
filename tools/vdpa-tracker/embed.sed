# SPDX-License-Identifier: LGPL-2.1-or-later
# A text as C string literals, a line each.
s/[\\"]/\\&/g
s/.*/"&\\n"/
