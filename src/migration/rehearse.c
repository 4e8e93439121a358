/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/rehearse.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <sys/mman.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "migration/admit.h"
#include "shadow/negotiate.h"
#include "virtio/features.h"

#define PAGE 4096u
#define RING_NUM 64u
#define OUT_SIZE 65536u
#define IN_SIZE 16384u
#define RING_PAGES 8u /* of either kind with RING_NUM entries, with room */

/* What a device sees of us: rings one after the other, then the two buffers of commands. */
struct stage {
    struct vdt_device *dev; /* borrowed */
    struct vdt_negotiation negotiation;
    uint8_t *area; /* owned mapping */
    size_t size;
    uint64_t iova;
    bool mapped;
    uint16_t num;
    int kick, call; /* owned; of the control queue */
};

static bool
make_area(struct stage *stage, GError **error)
{
    const struct vdt_device_info *info = &stage->dev->info;

    stage->num = (uint16_t) MIN(info->ring_max, RING_NUM);
    stage->size = (size_t) info->rings * RING_PAGES * PAGE + OUT_SIZE + IN_SIZE;
    VDT_AUTO_FD fd = vdt_memfd("vdpa-tracker-rehearse", stage->size, error);
    if (fd < 0)
        return false;
    void *area = mmap(NULL, stage->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (area == MAP_FAILED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "memory for the rings: %s",
                    g_strerror(errno));
        return false;
    }
    stage->area = area;
    /* At the top, as the shadow does, but off the very end: the last page may not be mappable. */
    uint64_t top = MIN(info->iova_last, UINT64_C(1) << 47) & ~(uint64_t) (PAGE - 1);
    if (top < info->iova_first || top - info->iova_first < stage->size) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "%s: its address range has no room for our rings", info->name);
        return false;
    }
    stage->iova = (top - stage->size) & ~(uint64_t) (PAGE - 1);
    return true;
}

static bool
negotiate(struct stage *stage, const struct vdt_snapshot *snapshot, GError **error)
{
    struct vdt_device *dev = stage->dev;
    struct vdt_negotiation *n = &stage->negotiation;
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    uint8_t held = 0;

    if (!vdt_negotiation_init(n, dev, UINT64_MAX, error))
        return false;
    uint64_t acked = snapshot->guest_features ? snapshot->guest_features & n->offered : n->offered;
    if (!vdt_negotiation_ack(n, &dev->info, acked, VDT_DRIVE, error))
        return false;
    if (!VDT_DEVICE_CALL(dev, set_status, error, 0) ||
        !VDT_DEVICE_CALL(dev, set_status, error, status) ||
        !VDT_DEVICE_CALL(dev, set_features, error, n->device) ||
        !VDT_DEVICE_CALL(dev, set_status, error, status | VIRTIO_CONFIG_S_FEATURES_OK) ||
        !VDT_DEVICE_CALL(dev, get_status, error, &held))
        return false;
    if (!(held & VIRTIO_CONFIG_S_FEATURES_OK)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "%s did not accept the feature set of the snapshot", dev->info.name);
        return false;
    }
    return true;
}

static void
ring_areas(const struct stage *stage, const struct vdt_ring_format *format, uint32_t ring,
           struct vdt_ring_mem *mem, struct vdt_ring_addr *addr)
{
    size_t at = (size_t) ring * RING_PAGES * PAGE;
    size_t driver = at + 4 * PAGE, device = at + 6 * PAGE;

    g_assert(vdt_ring_desc_size(format) <= 4 * PAGE && vdt_ring_driver_size(format) <= 2 * PAGE &&
             vdt_ring_device_size(format) <= 2 * PAGE);
    *mem = (struct vdt_ring_mem){stage->area + at, stage->area + driver, stage->area + device};
    *addr = (struct vdt_ring_addr){stage->iova + at, stage->iova + driver, stage->iova + device};
}

static bool
set_ring(struct stage *stage, uint32_t ring, GError **error)
{
    struct vdt_device *dev = stage->dev;
    struct vdt_ring_format format = vdt_features_ring_format(stage->negotiation.device, stage->num);
    struct vdt_ring_mem mem;
    struct vdt_ring_addr addr;
    bool cvq = (int) ring == stage->negotiation.device_cvq;

    ring_areas(stage, &format, ring, &mem, &addr);
    return VDT_DEVICE_CALL(dev, set_num, error, ring, stage->num) &&
           VDT_DEVICE_CALL(dev, set_base, error, ring, vdt_ring_pos_initial(format.kind)) &&
           VDT_DEVICE_CALL(dev, set_addr, error, ring, &addr) &&
           (!cvq || (VDT_DEVICE_CALL(dev, set_call, error, ring, stage->call) &&
                     VDT_DEVICE_CALL(dev, set_kick, error, ring, stage->kick)));
}

static bool
enable_rings(struct stage *stage, GError **error)
{
    for (uint32_t i = 0; i <= (uint32_t) stage->negotiation.device_cvq; i++) {
        if (!VDT_DEVICE_CALL(stage->dev, set_enable, error, i, true))
            return false;
    }
    return true;
}

/* All rings are enabled, the data rings without a buffer in them: some commands are taken for
 * enabled rings only. A device that takes no ENABLE past DRIVER_OK gets it before. */
static bool
start(struct stage *stage, GError **error)
{
    struct vdt_device *dev = stage->dev;
    bool late = dev->info.enable_after_driver_ok;
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

    if (!VDT_DEVICE_CALL(dev, map, error, 0, stage->iova, stage->size, stage->area, true))
        return false;
    stage->mapped = true;
    for (uint32_t i = 0; i <= (uint32_t) stage->negotiation.device_cvq; i++) {
        if (!set_ring(stage, i, error))
            return false;
    }
    return (late || enable_rings(stage, error)) &&
           VDT_DEVICE_CALL(dev, set_status, error, status) && (!late || enable_rings(stage, error));
}

static bool
has_queue(const struct stage *stage, GError **error)
{
    const struct vdt_device_info *info = &stage->dev->info;
    int cvq = stage->negotiation.device_cvq;

    if (cvq >= 0 && (uint32_t) cvq < info->rings)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                "%s has no control queue: there is nothing to replay into", info->name);
    return false;
}

static bool
replay(struct stage *stage, const struct vdt_net_state *net, unsigned deadline_ms,
       struct vdt_replay_report *report, GError **error)
{
    struct vdt_device *dev = stage->dev;
    uint32_t cvq = (uint32_t) stage->negotiation.device_cvq;
    size_t buffers = stage->size - OUT_SIZE - IN_SIZE;
    struct vdt_device_cvq_config config = {
        .format = vdt_features_ring_format(stage->negotiation.device, stage->num),
        .out = stage->area + buffers,
        .out_iova = stage->iova + buffers,
        .out_size = OUT_SIZE,
        .in = stage->area + buffers + OUT_SIZE,
        .in_iova = stage->iova + buffers + OUT_SIZE,
        .in_size = IN_SIZE,
        .kick_fd = stage->kick,
        .call_fd = stage->call,
        .device_name = dev->info.name,
    };
    struct vdt_ring_addr addr;

    g_autofree struct vdt_net_state *state = g_memdup2(net, sizeof(*net));

    if (!dev->ops->read_net_state)
        vdt_replay_insist(state, stage->negotiation.device);
    ring_areas(stage, &config.format, cvq, &config.mem, &addr);
    struct vdt_device_cvq *queue = vdt_device_cvq_new(&config);
    bool ok = vdt_replay(state, stage->negotiation.device, queue, deadline_ms, report, error);
    vdt_device_cvq_free(queue);
    return ok && vdt_admit_read_back(dev, state, error);
}

static void
clear(struct stage *stage)
{
    struct vdt_device *dev = stage->dev;

    VDT_DEVICE_CALL(dev, set_status, NULL, 0);
    for (uint32_t i = 0; stage->mapped && i <= (uint32_t) stage->negotiation.device_cvq; i++) {
        VDT_DEVICE_CALL(dev, set_kick, NULL, i, -1);
        VDT_DEVICE_CALL(dev, set_call, NULL, i, -1);
    }
    if (stage->mapped)
        VDT_DEVICE_CALL(dev, unmap, NULL, 0, stage->iova, stage->size);
    if (stage->area)
        munmap(stage->area, stage->size);
    vdt_close(stage->kick);
    vdt_close(stage->call);
}

bool
vdt_rehearse(struct vdt_device *dev, const struct vdt_snapshot *snapshot,
             const struct vdt_net_state *net, unsigned deadline_ms,
             struct vdt_replay_report *report, GError **error)
{
    struct stage stage = {.dev = dev, .kick = -1, .call = -1};

    if (!vdt_admit(snapshot, dev, 0, error))
        return false;
    stage.kick = vdt_eventfd(error);
    stage.call = stage.kick < 0 ? -1 : vdt_eventfd(error);
    bool ok = stage.call >= 0 && make_area(&stage, error) && negotiate(&stage, snapshot, error);
    /* Nothing to say to it: then it needs no queue for that. */
    if (ok && (net->set != 0 || stage.negotiation.device_cvq >= 0))
        ok = has_queue(&stage, error) && start(&stage, error) &&
             replay(&stage, net, deadline_ms, report, error);
    clear(&stage);
    return ok;
}
