/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/ram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define HIGH_GPA 0x100000000ull

bool
vdt_ram_init(struct vdt_ram *ram, uint64_t size, GError **error)
{
    uint64_t half = size / VDT_RAM_REGIONS;

    g_assert(half % VDT_RAM_PAGE == 0 && half > 0 && half <= HIGH_GPA);
    *ram = (struct vdt_ram){.fd = vdt_memfd("guest", size, error), .size = size};
    if (ram->fd < 0)
        return false;
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++) {
        struct vdt_ram_region *region = &ram->region[i];

        *region = (struct vdt_ram_region){
            .gpa = i * HIGH_GPA, .size = half, .offset = i * half, .host = MAP_FAILED};
        region->host =
            mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_SHARED, ram->fd, (off_t) region->offset);
        if (region->host == MAP_FAILED) {
            region->host = NULL;
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot map %lu bytes of guest RAM: %s",
                        (unsigned long) half, g_strerror(errno));
            vdt_ram_clear(ram);
            return false;
        }
    }
    ram->words = (HIGH_GPA + half) / VDT_RAM_PAGE / 64 + 1;
    ram->cpu = g_new0(uint64_t, ram->words);
    return true;
}

void
vdt_ram_clear(struct vdt_ram *ram)
{
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++) {
        if (ram->region[i].host)
            munmap(ram->region[i].host, ram->region[i].size);
        ram->region[i].host = NULL;
    }
    vdt_close(vdt_steal_fd(&ram->fd));
    g_clear_pointer(&ram->cpu, g_free);
}

void
vdt_ram_specs(const struct vdt_ram *ram, struct vdt_region_spec *ret_specs)
{
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++) {
        const struct vdt_ram_region *region = &ram->region[i];

        ret_specs[i] = (struct vdt_region_spec){.gpa = region->gpa,
                                                .size = region->size,
                                                .frontend = (uintptr_t) region->host,
                                                .offset = region->offset,
                                                .fd = ram->fd};
    }
}

void *
vdt_ram_at(const struct vdt_ram *ram, uint64_t gpa, uint64_t len)
{
    const struct vdt_ram_region *region = &ram->region[gpa >= HIGH_GPA];
    uint64_t offset = gpa - region->gpa;

    g_assert(offset < region->size && len <= region->size - offset);
    return region->host + offset;
}

uint64_t
vdt_ram_frontend(const struct vdt_ram *ram, uint64_t gpa)
{
    return (uintptr_t) vdt_ram_at(ram, gpa, 1);
}

void
vdt_ram_wrote(struct vdt_ram *ram, uint64_t gpa, uint64_t len)
{
    for (uint64_t page = gpa / VDT_RAM_PAGE; len && page <= (gpa + len - 1) / VDT_RAM_PAGE; page++)
        __atomic_fetch_or(&ram->cpu[page / 64], 1ull << page % 64, __ATOMIC_SEQ_CST);
}

/* A plain load leaves the cache line of a log that is mostly clean to those who mark in it. */
static inline uint64_t
look(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* Which of @count words, at most 64, are not zero, without a branch on what a word holds. */
static uint64_t
dirty_words(const uint64_t *words, unsigned count)
{
    uint64_t any = 0, dirty = 0;
    unsigned i = 0;

    for (; i + 4 <= count; i += 4)
        any |= look(words + i) | look(words + i + 1) | look(words + i + 2) | look(words + i + 3);
    for (; i < count; i++)
        any |= look(words + i);
    for (i = 0; any && i < count; i++)
        dirty |= (uint64_t) (look(words + i) != 0) << i;
    return dirty;
}

void
vdt_ram_take(const struct vdt_ram *ram, uint64_t *log, void (*page)(void *ctx, uint64_t gpa),
             void *ctx)
{
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++) {
        const struct vdt_ram_region *region = &ram->region[i];
        uint64_t first = region->gpa / VDT_RAM_PAGE / 64;
        uint64_t end = (region->gpa + region->size - 1) / VDT_RAM_PAGE / 64 + 1;

        for (uint64_t block = first; block < end; block += 64) {
            uint64_t dirty = dirty_words(&log[block], (unsigned) MIN(end - block, 64));

            for (; dirty; dirty &= dirty - 1) {
                uint64_t word = block + (uint64_t) __builtin_ctzll(dirty);
                uint64_t bits = __atomic_exchange_n(&log[word], 0, __ATOMIC_SEQ_CST);

                for (; bits; bits &= bits - 1)
                    page(ctx, (word * 64 + (uint64_t) __builtin_ctzll(bits)) * VDT_RAM_PAGE);
            }
        }
    }
}

void
vdt_ram_copy_page(struct vdt_ram *to, const struct vdt_ram *from, uint64_t gpa)
{
    memcpy(vdt_ram_at(to, gpa, VDT_RAM_PAGE), vdt_ram_at(from, gpa, VDT_RAM_PAGE), VDT_RAM_PAGE);
}

void
vdt_ram_copy(struct vdt_ram *to, const struct vdt_ram *from)
{
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++)
        memcpy(to->region[i].host, from->region[i].host, from->region[i].size);
}

uint64_t
vdt_ram_compare(const struct vdt_ram *a, const struct vdt_ram *b, uint64_t *ret_first)
{
    uint64_t differ = 0;

    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++) {
        for (uint64_t at = 0; at < a->region[i].size; at += VDT_RAM_PAGE) {
            if (memcmp(a->region[i].host + at, b->region[i].host + at, VDT_RAM_PAGE) == 0)
                continue;
            if (differ++ == 0)
                *ret_first = a->region[i].gpa + at;
        }
    }
    return differ;
}
