/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

static uint64_t
round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) & ~(to - 1);
}

struct vdt_arena *
vdt_arena_new(const uint64_t length[VDT_ARENA_PARTS], struct vdt_iova_space *space, GError **error)
{
    uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
    g_autofree struct vdt_arena *arena = g_new0(struct vdt_arena, 1);

    for (unsigned i = 0; i < VDT_ARENA_PARTS; i++) {
        arena->start[i] = arena->size;
        arena->length[i] = round_up(length[i], page);
        arena->size += arena->length[i];
    }
    if (!vdt_iova_space_alloc(space, arena->size, page, true, &arena->iova, error)) {
        g_prefix_error(error, "no room for the shadow rings in the device's address range: ");
        return NULL;
    }

    VDT_AUTO_FD fd = vdt_memfd("vdpa-tracker-rings", arena->size, error);
    if (fd >= 0) {
        arena->host = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (arena->host != MAP_FAILED)
            return g_steal_pointer(&arena);
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "cannot map %" G_GUINT64_FORMAT " bytes for the shadow rings: %s", arena->size,
                    g_strerror(errno));
    }
    vdt_iova_space_release(space, arena->iova, arena->size);
    return NULL;
}

void
vdt_arena_free(struct vdt_arena *arena, struct vdt_iova_space *space)
{
    if (!arena)
        return;
    munmap(arena->host, arena->size);
    vdt_iova_space_release(space, arena->iova, arena->size);
    g_free(arena);
}

void *
vdt_arena_take(struct vdt_arena *arena, enum vdt_arena_part part, uint64_t len, uint64_t align,
               uint64_t *ret_iova)
{
    uint64_t at = round_up(arena->used[part], align);

    g_assert(at + len <= arena->length[part]);
    arena->used[part] = at + len;

    uint8_t *host = arena->host + arena->start[part] + at;
    *ret_iova = arena->iova + arena->start[part] + at;
    return host;
}

void
vdt_arena_rewind(struct vdt_arena *arena, enum vdt_arena_part part)
{
    arena->used[part] = 0;
}

bool
vdt_arena_map(struct vdt_arena *arena, struct vdt_device *dev, uint32_t cvq_asid, GError **error)
{
    for (unsigned i = 0; i < VDT_ARENA_PARTS; i++) {
        if (arena->mapped[i] || arena->length[i] == 0)
            continue;
        arena->asid[i] = i == VDT_ARENA_CVQ ? cvq_asid : 0;
        if (!VDT_DEVICE_CALL(dev, map, error, arena->asid[i], arena->iova + arena->start[i],
                             arena->length[i], arena->host + arena->start[i],
                             i != VDT_ARENA_READ)) {
            vdt_arena_unmap(arena, dev);
            return false;
        }
        arena->mapped[i] = true;
    }
    return true;
}

void
vdt_arena_unmap(struct vdt_arena *arena, struct vdt_device *dev)
{
    for (unsigned i = 0; i < VDT_ARENA_PARTS; i++) {
        if (arena->mapped[i])
            VDT_DEVICE_CALL(dev, unmap, NULL, arena->asid[i], arena->iova + arena->start[i],
                            arena->length[i]);
        arena->mapped[i] = false;
    }
}
