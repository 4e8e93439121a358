/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory: each change builds the next generation of the map, asks the backend, and only then
 * replaces the one in force.
 */
#include "vhost_user/session_private.h"

#include <errno.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

/* QEMU 7.2 adds and removes each region once for each queue pair: equal additions are counted. */
#define ADDITIONS_MAX 256u

struct region {
    struct vhost_user_region at;
    dev_t dev;
    ino_t ino;
    unsigned additions;
};

static bool
identify(const struct vhost_user_region *at, int fd, struct region *ret, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the descriptor of a memory region cannot be examined: %s", g_strerror(errno));
        return false;
    }
    *ret = (struct region){.at = *at, .dev = st.st_dev, .ino = st.st_ino, .additions = 1};
    return true;
}

static struct vdt_region_spec
to_spec(const struct vhost_user_region *at, int fd)
{
    return (struct vdt_region_spec){
        .gpa = at->gpa,
        .size = at->size,
        .frontend = at->frontend,
        .offset = at->offset,
        .fd = fd,
    };
}

static GArray *
regions(struct vdt_session *session)
{
    if (!session->regions)
        session->regions = g_array_new(FALSE, FALSE, sizeof(struct region));
    return session->regions;
}

/* Put @next (taken) in force. */
static bool
replace_map(struct vdt_session *session, struct vdt_guest_map *next, GError **error)
{
    if ((session->acked & VDT_F_LOG_ALL) && session->log_fresh &&
        !vdt_session_log_covers(session->log_size, vdt_guest_map_end(next))) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID,
                            "the new guest memory reaches beyond the dirty log; "
                            "what the device writes there would be lost");
        vdt_guest_map_unref(next);
        return false;
    }
    if (!session->ops->set_memory(session->ctx, next, error)) {
        vdt_guest_map_unref(next);
        return false;
    }
    vdt_guest_map_unref(session->map);
    session->map = next;
    return true;
}

bool
vdt_msg_set_mem_table(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    struct vhost_user_mem_table *table = &message->payload.table;
    uint32_t count = table->count;
    struct vdt_region_spec specs[VHOST_USER_TABLE_REGIONS];
    struct region made[VHOST_USER_TABLE_REGIONS];

    /* UML sends room for two regions, whatever their count. */
    if (count == 0 || count > VHOST_USER_TABLE_REGIONS || message->fd_count != count ||
        message->header.size < VHOST_USER_MEM_TABLE_SIZE(count)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "a memory table of %u regions came with %u descriptors in %u bytes", count,
                    message->fd_count, message->header.size);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        specs[i] = to_spec(&table->regions[i], message->fds[i]);
        if (!identify(&table->regions[i], message->fds[i], &made[i], error))
            return false;
    }

    struct vdt_guest_map *next = vdt_guest_map_from_table(specs, count, error);
    if (!next || !replace_map(session, next, error))
        return false;
    g_array_set_size(regions(session), 0);
    g_array_append_vals(regions(session), made, count);
    return true;
}

static struct region *
find_region(struct vdt_session *session, const struct vhost_user_region *at)
{
    GArray *all = regions(session);

    for (unsigned i = 0; i < all->len; i++) {
        struct region *r = &g_array_index(all, struct region, i);
        if (r->at.gpa == at->gpa && r->at.size == at->size && r->at.frontend == at->frontend)
            return r;
    }
    return NULL;
}

bool
vdt_msg_add_region(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    const struct vhost_user_region *at = &message->payload.single.region;
    struct region made, *same = find_region(session, at);

    if (!identify(at, message->fds[0], &made, error))
        return false;
    if (same) {
        if (same->at.offset != at->offset || same->dev != made.dev || same->ino != made.ino ||
            same->additions >= ADDITIONS_MAX) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                        "guest memory at 0x%" G_GINT64_MODIFIER "x is there already", at->gpa);
            return false;
        }
        same->additions++;
        return true;
    }

    struct vdt_region_spec spec = to_spec(at, message->fds[0]);
    struct vdt_guest_map *next = vdt_guest_map_with(session->map, &spec, error);
    if (!next || !replace_map(session, next, error))
        return false;
    g_array_append_val(regions(session), made);
    return true;
}

bool
vdt_msg_remove_region(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    const struct vhost_user_region *at = &message->payload.single.region;
    struct region *known = find_region(session, at);

    if (known && known->additions > 1) {
        known->additions--;
        return true;
    }
    struct vdt_guest_map *next =
        vdt_guest_map_without(session->map, at->gpa, at->size, at->frontend, error);
    if (!next || !replace_map(session, next, error))
        return false;
    if (known)
        g_array_remove_index_fast(session->regions,
                                  (guint) (known - (struct region *) session->regions->data));
    return true;
}

bool
vdt_msg_get_max_slots(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    message->payload.u64 = VDT_REGIONS_MAX;
    message->reply_size = sizeof(message->payload.u64);
    return true;
}
