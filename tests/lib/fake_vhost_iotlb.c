/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/fake_vhost_private.h"
#include "virtio/net_ctrl.h"

#define PAGE 4096u

static bool
is_shared(uint64_t host, uint64_t size)
{
    return vdt_vhost_memory_is_shared((void *) (uintptr_t) host, size);
}

uint64_t
fake_vhost_pinned(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < FAKE_VHOST_DEVICES; i++) {
        for (unsigned m = 0; m < FAKE_VHOST_MAPS; m++)
            sum += fake_vhost_nodes[i].maps[m].used ? fake_vhost_nodes[i].maps[m].pinned : 0;
    }
    return sum;
}

static int
update(struct fake_vhost_node *node, uint32_t asid, const struct vhost_iotlb_msg *msg)
{
    const struct vdt_device_info *info = &node->parent->info;
    uint64_t last = fake_vhost.iova_last ? fake_vhost.iova_last : info->iova_last;
    uint64_t end = msg->iova + msg->size - 1, pages = msg->size / PAGE;
    struct fake_vhost_mapping *free_one = NULL;
    GError *error = NULL;

    if (msg->size == 0 || msg->iova < info->iova_first || end < msg->iova || end > last)
        return EINVAL;
    for (unsigned i = 0; i < FAKE_VHOST_MAPS; i++) {
        struct fake_vhost_mapping *m = &node->maps[i];
        if (!m->used)
            free_one = m;
        else if (m->asid == asid && m->iova <= end && m->iova + m->size - 1 >= msg->iova)
            return EEXIST;
        else if (m->asid == asid)
            pages += m->size / PAGE;
    }
    if (fake_vhost.user_va && !is_shared(msg->uaddr, msg->size))
        return 0; /* the trap: nothing is mapped, and that is a success */
    if (!fake_vhost.user_va && fake_vhost.memlock &&
        fake_vhost_pinned() + msg->size > fake_vhost.memlock)
        return ENOMEM;
    if (!fake_vhost.user_va && fake_vhost.iotlb_entries && pages > fake_vhost.iotlb_entries)
        return ENOSPC;
    unsigned char *core = g_malloc(msg->size / PAGE + 1);
    bool there = mincore((void *) (uintptr_t) msg->uaddr, msg->size, core) == 0;
    g_free(core);
    if (!there || !free_one || fake_vhost.iotlb_refuses)
        return ENOMEM;
    if ((msg->uaddr ^ msg->iova) % PAGE)
        g_error("IOVA and address do not share their place in the page");
    if (!node->parent->ops->map(node->parent, asid, msg->iova, msg->size,
                                (void *) (uintptr_t) msg->uaddr, msg->perm & VHOST_ACCESS_WO,
                                &error))
        return fake_vhost_errno(error);
    *free_one = (struct fake_vhost_mapping){.asid = asid,
                                            .iova = msg->iova,
                                            .size = msg->size,
                                            .pinned = fake_vhost.user_va ? 0 : msg->size,
                                            .used = true};
    return 0;
}

/* Whole mappings, as far as they are touched; none is no failure. */
void
fake_vhost_invalidate(struct fake_vhost_node *node, uint32_t asid, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < FAKE_VHOST_MAPS; i++) {
        struct fake_vhost_mapping *m = &node->maps[i];
        if (!m->used || m->asid != asid || m->iova > to || m->iova + m->size - 1 < from)
            continue;
        /* A parent that forgot it at a reset has nothing to remove. */
        node->parent->ops->unmap(node->parent, asid, m->iova, m->size, NULL);
        m->used = false;
    }
}

int
fake_vhost_message(struct fake_vhost_node *node, const struct vhost_msg_v2 *msg)
{
    bool takes_asid = node->backend & VDT_BIT(VHOST_BACKEND_F_IOTLB_ASID);
    uint32_t asid = takes_asid ? msg->asid : 0;

    if (!node->owned || node->mm != getpid())
        return EPERM;
    if (asid >= (fake_vhost.one_space ? 1 : node->parent->info.asids))
        return EINVAL;
    if (node->in_batch && node->batch_asid != asid)
        return EINVAL;
    switch (msg->iotlb.type) {
    case VHOST_IOTLB_UPDATE:
        fake_vhost_seen.updates++;
        return update(node, asid, &msg->iotlb);
    case VHOST_IOTLB_INVALIDATE:
        fake_vhost_seen.invalidates++;
        fake_vhost_invalidate(node, asid, msg->iotlb.iova, msg->iotlb.iova + msg->iotlb.size - 1);
        return 0;
    case VHOST_IOTLB_BATCH_BEGIN:
        fake_vhost_seen.batches++;
        node->in_batch = true;
        node->batch_asid = asid;
        return 0;
    case VHOST_IOTLB_BATCH_END:
        node->in_batch = false;
        return 0;
    }
    return EINVAL;
}
