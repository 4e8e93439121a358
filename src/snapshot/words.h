/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words: short texts that show, JSON, diff and check have in common. Callers free.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "snapshot/snapshot.h"

char *vdt_words_mac(const uint8_t mac[6]);
char *vdt_words_hex(const uint8_t *bytes, size_t len); /* "00ff" */
char *vdt_words_number(uint64_t value);                /* "0x1f" */
char *vdt_words_time(int64_t us);                      /* "2023-11-14T22:13:20.000123Z" */
char *vdt_words_vlans(const uint8_t *bitmap);          /* "1-100, 200"; "none" */
char *vdt_words_fault(unsigned fault); /* of a ring; also of a number that a newer version knows */
char *vdt_words_abilities(uint64_t abilities); /* "suspend resume bit9" */
char *vdt_words_role(const struct vdt_snapshot *snapshot, unsigned ring); /* "rx0", "control" */
