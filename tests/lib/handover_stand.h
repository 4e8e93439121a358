/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handover stand: a tracker "a" that hands over by a command, a guest on it whose VMM carries no
 * device state, and what both say of themselves.
 */
#pragma once

#include <criterion/criterion.h>

#include "lib/vm.h"

#define DEVICE_STATE VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE)

void must(bool ok, GError *error);
/* In the runtime directory: a path, and what is in it (NULL: no such file). The caller's. */
char *stand_file(const char *name);
char *stand_text(const char *name);
/* Commands write it, maybe a moment later: a line at least. */
void wait_for_file(const char *name);
/* The processes whose numbers are in it have ended, or do so in two seconds. */
void expect_ended(const char *name);

/* @member of tracker @name's status; "handover.X" is X there. */
void expect_text(const char *name, const char *member, const char *expected); /* "null": null */
void expect_part(const char *name, const char *member, const char *part);
int64_t number(const char *name, const char *member);
bool awaits_state(const char *name);
void expect_counts(const char *name, int64_t given, int64_t failed);

/* @a with @command, for @seconds at most; its guest has used its rings, set promiscuous mode and
 * VLAN 5. */
void begin(struct tracker *a, struct vm *vm, const char *command, const char *seconds);
/* It starts on the tracker that its VMM is connected to, and works there. */
void go_on(struct vm *vm, const char *name, const char *arrival);
void move_to(struct vm *vm, const char *name);
/* Of guest and @a. */
void end(struct tracker *a, struct vm *vm);
