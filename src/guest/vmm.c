/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define STATUS_RUNNING                                                                             \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |          \
     VIRTIO_CONFIG_S_DRIVER_OK)
#define TRANSPORT_BITS                                                                             \
    (VHOST_USER_BIT(VHOST_USER_F_LOG_ALL) | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES))
#define RETRY_US 2000

static struct vdt_frontend *
connect_patiently(const char *socket, unsigned timeout_ms, GError **error)
{
    int64_t end = g_get_monotonic_time() + (int64_t) timeout_ms * 1000;

    for (;;) {
        struct vdt_frontend *frontend = vdt_frontend_connect(socket, timeout_ms, error);

        if (frontend || g_get_monotonic_time() > end)
            return frontend;
        g_clear_error(error);
        g_usleep(RETRY_US);
    }
}

static bool
require(struct vdt_vmm *vmm, enum vhost_user_protocol_feature bit, const char *name, GError **error)
{
    if (vdt_frontend_has(vmm->frontend, bit))
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                "the backend has no %s; a guest cannot be migrated without it", name);
    return false;
}

bool
vdt_vmm_connect(struct vdt_vmm *vmm, const char *socket, struct vdt_ram *ram, unsigned timeout_ms,
                GError **error)
{
    uint64_t wanted = VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE);

    *vmm = (struct vdt_vmm){.ram = ram, .log_fd = -1};
    vmm->frontend = connect_patiently(socket, timeout_ms, error);
    if (!vmm->frontend || !vdt_frontend_negotiate(vmm->frontend, wanted, error) ||
        !require(vmm, VHOST_USER_PROTOCOL_F_LOG_SHMFD, "LOG_SHMFD", error) ||
        !require(vmm, VHOST_USER_PROTOCOL_F_STATUS, "STATUS", error) ||
        !require(vmm, VHOST_USER_PROTOCOL_F_CONFIG, "CONFIG", error) ||
        !require(vmm, VHOST_USER_PROTOCOL_F_DEVICE_STATE, "DEVICE_STATE", error) ||
        !vdt_frontend_get_features(vmm->frontend, &vmm->offered, error) ||
        !vdt_frontend_get_queue_num(vmm->frontend, &vmm->queue_num, error))
        return false;
    vmm->transport = vmm->offered & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
    vmm->offered &= ~(uint64_t) TRANSPORT_BITS;
    return vdt_vmm_read_config(vmm, error);
}

bool
vdt_vmm_read_config(struct vdt_vmm *vmm, GError **error)
{
    return vdt_frontend_get_config(vmm->frontend, 0, &vmm->config, sizeof(vmm->config), error);
}

static void
log_stop(struct vdt_vmm *vmm)
{
    if (vmm->log)
        munmap(vmm->log, vmm->ram->words * sizeof(uint64_t));
    vmm->log = NULL;
    if (vmm->log_fd >= 0)
        vdt_close(vdt_steal_fd(&vmm->log_fd));
}

void
vdt_vmm_clear(struct vdt_vmm *vmm)
{
    if (!vmm->frontend)
        return;
    g_clear_pointer(&vmm->frontend, vdt_frontend_free);
    log_stop(vmm);
}

static bool
set_addr(struct vdt_vmm *vmm, const struct vdt_queue *queue, bool log, GError **error)
{
    struct vhost_user_vring_addr addr = {
        .index = queue->index,
        .flags = log ? VHOST_USER_VRING_F_LOG : 0,
        .desc = vdt_ram_frontend(vmm->ram, queue->addr.desc),
        .avail = vdt_ram_frontend(vmm->ram, queue->addr.driver),
        .used = vdt_ram_frontend(vmm->ram, queue->addr.device),
        .log = queue->addr.device,
    };

    return vdt_frontend_set_addr(vmm->frontend, &addr, error);
}

static bool
start_ring(struct vdt_vmm *vmm, const struct vdt_queue *queue, uint32_t base, GError **error)
{
    uint32_t i = queue->index;

    return vdt_frontend_set_num(vmm->frontend, i, queue->ring.format.num, error) &&
           vdt_frontend_set_base(vmm->frontend, i, base, error) &&
           set_addr(vmm, queue, false, error) &&
           vdt_frontend_set_kick(vmm->frontend, i, queue->kick, error) &&
           vdt_frontend_set_call(vmm->frontend, i, queue->call, error);
}

bool
vdt_vmm_start(struct vdt_vmm *vmm, struct vdt_driver *driver, const uint32_t *bases, GError **error)
{
    struct vdt_region_spec specs[VDT_RAM_REGIONS];
    unsigned count = vdt_driver_queue_count(driver);

    vdt_ram_specs(vmm->ram, specs);
    if (!vdt_frontend_set_features(vmm->frontend, driver->config.features | vmm->transport,
                                   error) ||
        !vdt_frontend_set_memory(vmm->frontend, specs, VDT_RAM_REGIONS, error))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct vdt_queue *queue = vdt_driver_queue(driver, i);
        uint32_t base = vdt_ring_pos_to_base(&queue->ring.format,
                                             vdt_ring_pos_initial(queue->ring.format.kind));

        if (!start_ring(vmm, queue, bases ? bases[i] : base, error))
            return false;
    }
    if (!vdt_frontend_set_status(vmm->frontend, STATUS_RUNNING, error))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct vdt_queue *queue = vdt_driver_queue(driver, i);

        if (!vdt_frontend_set_enable(vmm->frontend, queue->index, true, error))
            return false;
    }
    return true;
}

bool
vdt_vmm_log_start(struct vdt_vmm *vmm, struct vdt_driver *driver, GError **error)
{
    uint64_t size = vmm->ram->words * sizeof(uint64_t);
    void *map;

    vmm->log_fd = vdt_memfd("dirty-log", size, error);
    if (vmm->log_fd < 0)
        return false;
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vmm->log_fd, 0);
    if (map == MAP_FAILED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot map the dirty log: %s",
                    g_strerror(errno));
        return false;
    }
    vmm->log = map;
    if (!vdt_frontend_set_log(vmm->frontend, vmm->log_fd, 0, size, error) ||
        !vdt_frontend_set_features(
            vmm->frontend,
            driver->config.features | vmm->transport | VHOST_USER_BIT(VHOST_USER_F_LOG_ALL), error))
        return false;
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        if (!set_addr(vmm, vdt_driver_queue(driver, i), true, error))
            return false;
    }
    return true;
}

bool
vdt_vmm_log_stop(struct vdt_vmm *vmm, struct vdt_driver *driver, GError **error)
{
    if (!vdt_frontend_set_features(vmm->frontend, driver->config.features | vmm->transport, error))
        return false;
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        if (!set_addr(vmm, vdt_driver_queue(driver, i), false, error))
            return false;
    }
    log_stop(vmm);
    return true;
}

bool
vdt_vmm_stop(struct vdt_vmm *vmm, struct vdt_driver *driver, uint32_t *ret_bases, GError **error)
{
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        const struct vdt_queue *queue = vdt_driver_queue(driver, i);

        if (!vdt_frontend_get_base(vmm->frontend, queue->index, &ret_bases[i], error))
            return false;
    }
    return vdt_frontend_set_status(vmm->frontend, 0, error);
}
