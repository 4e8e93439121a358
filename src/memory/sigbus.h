/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SIGBUS guard: mappings of files that a peer owns and may shorten at any time.
 *
 * A fault inside a guarded mapping puts anonymous zero memory over the mapping from the faulting
 * page to its end, marks the guard as hit and goes on: whoever touched the memory, on whatever
 * thread, sees zeros instead of dying. What was in the file is lost to us from there on, so owners
 * ask vdt_sigbus_guard_hit() and stop serving. Faults elsewhere go to the handler that was there
 * before ours. The handler is installed by the first add() and stays for the process's life; a
 * program that installs its own later has to call the one it replaces.
 *
 * Thread: add and remove from any (a lock, never held in the handler); hit from any.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define VDT_GUARDS_MAX 4096u

struct vdt_sigbus_guard;

/* Guard [@addr, @addr + @len), a mapping with pages of @page bytes (huge pages cannot be split).
 * NULL with @error when there are VDT_GUARDS_MAX already. */
struct vdt_sigbus_guard *vdt_sigbus_guard_add(void *addr, size_t len, size_t page, GError **error);

/* Before the mapping is unmapped, so that its addresses mean nothing here when they are reused.
 * Accepts NULL. */
void vdt_sigbus_guard_remove(struct vdt_sigbus_guard *guard);

/* A fault was caught since add(). */
bool vdt_sigbus_guard_hit(const struct vdt_sigbus_guard *guard);

/* Page size of a mapping of @fd: the huge page size for hugetlbfs, the system's otherwise. */
size_t vdt_fd_page_size(int fd);
