/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RAM: the memory of the built-in guest, as a VMM makes it: one shared file, two regions with a
 * hole between them, so that a guest address, a place in the file and an address of this process
 * are three different things.
 *
 * What the guest's processor writes is noted in a bitmap of its own (KVM does that for a VMM), laid
 * out like the dirty log of vhost-user; the two are never mixed, so that a page which the tracker
 * forgot cannot hide behind one that the processor wrote.
 *
 * Thread: any for marks and takes; the rest is fixed after init.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/guest_map.h"

#define VDT_RAM_REGIONS 2u
#define VDT_RAM_PAGE 4096u
#define VDT_RAM_MIN (8u << 20)

struct vdt_ram_region {
    uint64_t gpa, size, offset;
    uint8_t *host; /* owned mapping */
};

struct vdt_ram {
    int fd; /* owned */
    uint64_t size;
    struct vdt_ram_region region[VDT_RAM_REGIONS]; /* by GPA */
    uint64_t *cpu;                                 /* owned: pages written by the processor */
    uint64_t words;                                /* of a log that covers every page */
};

/* @size: bytes, a multiple of two pages. */
bool vdt_ram_init(struct vdt_ram *ram, uint64_t size, GError **error);
void vdt_ram_clear(struct vdt_ram *ram);

/* As rows of a memory table; VDT_RAM_REGIONS of them. */
void vdt_ram_specs(const struct vdt_ram *ram, struct vdt_region_spec *ret_specs);

/* [@gpa, @gpa + @len) of one region; a mistake of the guest's own is a bug of ours. */
void *vdt_ram_at(const struct vdt_ram *ram, uint64_t gpa, uint64_t len);
/* The same as the frontend's address. */
uint64_t vdt_ram_frontend(const struct vdt_ram *ram, uint64_t gpa);

/* The processor has written there. */
void vdt_ram_wrote(struct vdt_ram *ram, uint64_t gpa, uint64_t len);

/*
 * Take what is set in @log (a bitmap of @ram->words, shared with whoever sets bits) and leave it
 * clear; each page is then given to @page. The order that makes it safe: clear first, read the
 * page second.
 */
void vdt_ram_take(const struct vdt_ram *ram, uint64_t *log, void (*page)(void *ctx, uint64_t gpa),
                  void *ctx);

void vdt_ram_copy_page(struct vdt_ram *to, const struct vdt_ram *from, uint64_t gpa);
void vdt_ram_copy(struct vdt_ram *to, const struct vdt_ram *from);
/* Pages that differ; the first goes to @ret_first. */
uint64_t vdt_ram_compare(const struct vdt_ram *a, const struct vdt_ram *b, uint64_t *ret_first);
