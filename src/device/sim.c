/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/sim.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/wire.h"
#include "virtio/features.h"

#define STATUS_KNOWN                                                                               \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |            \
     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)

#define BASIC_FEATURES                                                                             \
    (VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM) |                             \
     VDT_BIT(VIRTIO_F_RING_PACKED) | VDT_BIT(VIRTIO_RING_F_EVENT_IDX) |                            \
     VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VDT_BIT(VIRTIO_NET_F_MAC) |                            \
     VDT_BIT(VIRTIO_NET_F_MTU) | VDT_BIT(VIRTIO_NET_F_STATUS) | VDT_BIT(VIRTIO_NET_F_MRG_RXBUF) |  \
     VDT_BIT(VIRTIO_NET_F_SPEED_DUPLEX) | VDT_BIT(VIRTIO_NET_F_CSUM) |                             \
     VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) |                         \
     VDT_BIT(VIRTIO_NET_F_GUEST_TSO6) | VDT_BIT(VIRTIO_NET_F_HOST_TSO4) |                          \
     VDT_BIT(VIRTIO_NET_F_HOST_TSO6))

#define CTRL_FEATURES                                                                              \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |                       \
     VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |                  \
     VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VDT_BIT(VIRTIO_NET_F_NOTF_COAL) |                 \
     VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL) | VDT_BIT(VIRTIO_NET_F_DEVICE_STATS))

#define RSS_FEATURES (VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT))

/* Feature dependencies of virtio 1.2, 5.1.3.1: the left one is void without the right one. */
static const struct {
    uint8_t feature, needs;
} needs[] = {
    {VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
    {VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
    {VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
    {VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_RX},
    {VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_RSS, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_HASH_REPORT, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_NOTF_COAL, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_VQ_NOTF_COAL, VIRTIO_NET_F_CTRL_VQ},
    {VIRTIO_NET_F_DEVICE_STATS, VIRTIO_NET_F_CTRL_VQ},
};

/* The gate makes the two threads take turns: a busy device thread would otherwise take the lock
 * again before the control thread wakes up. */
struct vdt_sim *
vdt_sim_lock(struct vdt_device *dev)
{
    struct vdt_sim *sim = vdt_sim_of(dev);

    pthread_mutex_lock(&sim->gate);
    pthread_mutex_lock(&sim->lock);
    pthread_mutex_unlock(&sim->gate);
    return sim;
}

void
vdt_sim_unlock(struct vdt_sim *sim)
{
    pthread_mutex_unlock(&sim->lock);
}

bool
vdt_sim_fail(struct vdt_sim *sim, GError **error, int code, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, code, "device %s %s", sim->dev.info.name, text);
    return false;
}

void
vdt_sim_fault(struct vdt_sim *sim, const char *format, ...)
{
    va_list args;

    sim->fault_count++;
    if (sim->faults->len >= VDT_SIM_FAULTS_MAX)
        return;
    va_start(args, format);
    g_ptr_array_add(sim->faults, g_strdup_vprintf(format, args));
    va_end(args);
}

static bool
set_features(struct vdt_device *dev, uint64_t features, GError **error)
{
    VDT_SIM_LOCKED(dev);
    uint64_t must = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM);

    if (sim->status & VIRTIO_CONFIG_S_FEATURES_OK)
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY,
                            "takes no features after FEATURES_OK; reset it first");
    if (features & ~sim->offered) {
        g_autofree char *names = vdt_features_to_string(VIRTIO_ID_NET, features & ~sim->offered);

        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "does not offer %s", names);
    }
    if ((features & must) != (sim->offered & must)) {
        g_autofree char *names =
            vdt_features_to_string(VIRTIO_ID_NET, sim->offered & must & ~features);

        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "does not work without %s", names);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(needs); i++) {
        if ((features & VDT_BIT(needs[i].feature)) && !(features & VDT_BIT(needs[i].needs)))
            return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "refuses %s without %s",
                                vdt_feature_name(VIRTIO_ID_NET, needs[i].feature),
                                vdt_feature_name(VIRTIO_ID_NET, needs[i].needs));
    }
    sim->features = features;
    for (unsigned i = 0; i < sim->dev.info.rings; i++)
        sim->rings[i].base = vdt_ring_pos_initial(vdt_features_ring_format(features, 0).kind);
    return true;
}

static void
reset(struct vdt_sim *sim)
{
    if (vdt_sim_running(sim))
        sim->backend->run(sim, false);
    sim->status = 0;
    sim->features = 0;
    sim->suspended = false;
    sim->batch = -1;
    sim->resets++;
    memset(sim->group_asid, 0, sizeof sim->group_asid);
    for (unsigned i = 0; i < sim->dev.info.rings; i++)
        vdt_sim_ring_reset(sim, &sim->rings[i]);
    vdt_sim_net_reset(sim);
    vdt_sim_config_reset(sim);
    sim->maps_generation++;
    if (sim->options.reset_drops)
        vdt_sim_maps_clear(sim);
}

static bool
start(struct vdt_sim *sim, GError **error)
{
    if (!vdt_sim_rings_start(sim, error))
        return false;
    sim->commands_since_start = 0;
    sim->backend->offloads(sim);
    sim->backend->run(sim, true);
    return true;
}

static bool
set_status(struct vdt_device *dev, uint8_t status, GError **error)
{
    VDT_SIM_LOCKED(dev);
    uint8_t added = status & (uint8_t) ~sim->status;

    if (status == 0) {
        reset(sim);
        return true;
    }
    status |= sim->status & VIRTIO_CONFIG_S_NEEDS_RESET; /* ours, whatever the driver writes */
    if (status & ~STATUS_KNOWN)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "knows no such status as 0x%02x",
                            status);
    if (sim->status & ~status)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot drop status bits (0x%02x to 0x%02x); only a reset clears them",
                            sim->status, status);
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !(status & VIRTIO_CONFIG_S_DRIVER))
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "was told FEATURES_OK before DRIVER");
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !sim->features) {
        vdt_sim_fault(sim, "FEATURES_OK without features");
        status &= (uint8_t) ~VIRTIO_CONFIG_S_FEATURES_OK; /* the driver reads it back */
    }
    if (added & VIRTIO_CONFIG_S_DRIVER_OK) {
        if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
            return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                                "was told DRIVER_OK before FEATURES_OK");
        if (!start(sim, error))
            return false;
    }
    sim->status = status;
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && sim->options.announce)
        vdt_sim_config_announce(sim);
    vdt_sim_worker_wake(sim);
    return true;
}

static bool
get_status(struct vdt_device *dev, uint8_t *ret_status, GError **error)
{
    VDT_SIM_LOCKED(dev);

    *ret_status = sim->status;
    return true;
}

static bool
suspend(struct vdt_device *dev, GError **error)
{
    VDT_SIM_LOCKED(dev);

    if (sim->options.no_suspend)
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED, "cannot be suspended");
    /* Like the kernel: true without an effect when there is nothing to suspend. */
    if (!vdt_sim_running(sim))
        return true;
    vdt_sim_rings_sync(sim);
    sim->suspended = true;
    if (!sim->options.dma_after_suspend)
        sim->backend->run(sim, false);
    return true;
}

static bool
resume(struct vdt_device *dev, GError **error)
{
    VDT_SIM_LOCKED(dev);

    if (sim->options.no_suspend || sim->options.no_resume)
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED, "cannot be resumed");
    if (!(sim->status & VIRTIO_CONFIG_S_DRIVER_OK) || !sim->suspended)
        return true;
    sim->suspended = false;
    sim->backend->run(sim, true);
    vdt_sim_worker_wake(sim);
    return true;
}

static bool
read_net_state(struct vdt_device *dev, struct vdt_net_state *ret_state, GError **error)
{
    VDT_SIM_LOCKED(dev);

    *ret_state = sim->net;
    return true;
}

static void
close_sim(struct vdt_device *dev)
{
    struct vdt_sim *sim = vdt_sim_of(dev);

    vdt_sim_worker_stop(sim);
    if (sim->backend)
        sim->backend->close(sim);
    for (unsigned i = 0; i < VDT_SIM_RINGS_MAX; i++)
        vdt_sim_ring_reset(sim, &sim->rings[i]);
    vdt_log(VDT_LOG_DEBUG, "%s: closed, %" G_GUINT64_FORMAT " frames dropped", dev->info.name,
            sim->frames_dropped);
    for (unsigned i = 0; i < VDT_SIM_ASIDS; i++)
        g_array_free(sim->space[i], TRUE);
    vdt_close(sim->config_call);
    g_ptr_array_free(sim->faults, TRUE);
    g_rand_free(sim->rand);
    vdt_sim_options_clear(&sim->options);
    pthread_mutex_destroy(&sim->gate);
    pthread_mutex_destroy(&sim->lock);
    g_free(sim);
}

static const struct vdt_device_ops ops = {
    .kind = "sim",
    .close = close_sim,
    .set_features = set_features,
    .set_status = set_status,
    .get_status = get_status,
    .map = vdt_sim_map,
    .unmap = vdt_sim_unmap,
    .batch = vdt_sim_batch,
    .get_group = vdt_sim_get_group,
    .set_group_asid = vdt_sim_set_group_asid,
    .set_num = vdt_sim_set_num,
    .set_base = vdt_sim_set_base,
    .get_base = vdt_sim_get_base,
    .set_addr = vdt_sim_set_addr,
    .set_kick = vdt_sim_set_kick,
    .set_call = vdt_sim_set_call,
    .set_enable = vdt_sim_set_enable,
    .suspend = suspend,
    .resume = resume,
    .get_config = vdt_sim_get_config,
    .set_config = vdt_sim_set_config,
    .set_config_call = vdt_sim_set_config_call,
    .read_net_state = read_net_state,
    .describe = vdt_sim_describe,
};

static uint64_t
offer(const struct vdt_sim_options *options, const struct vdt_sim_backend_ops *backend)
{
    uint64_t features = BASIC_FEATURES;

    if (!options->no_cvq)
        features |= CTRL_FEATURES;
    if (!options->no_cvq && options->pairs > 1)
        features |= VDT_BIT(VIRTIO_NET_F_MQ) | (options->no_rss ? 0 : RSS_FEATURES);
    if (options->no_packed)
        features &= ~VDT_BIT(VIRTIO_F_RING_PACKED);
    if (options->no_event_idx)
        features &= ~VDT_BIT(VIRTIO_RING_F_EVENT_IDX);
    if (options->no_indirect)
        features &= ~VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC);
    if (options->in_order)
        features |= VDT_BIT(VIRTIO_F_IN_ORDER);
    features &= ~backend->lacks & options->features_and;
    return (features | options->features_add) & ~options->features_drop;
}

static void
fill_info(struct vdt_sim *sim, const char *spec)
{
    struct vdt_device_info *info = &sim->dev.info;
    const struct vdt_sim_options *options = &sim->options;

    g_strlcpy(info->name, spec, sizeof info->name);
    g_strlcpy(info->driver, "sim", sizeof info->driver);
    info->device_id = VIRTIO_ID_NET;
    info->features = sim->offered;
    info->rings = 2 * options->pairs + ((sim->offered & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)) ? 1 : 0);
    info->ring_max = (uint16_t) options->num;
    info->config_size = sizeof(struct virtio_net_config);
    info->iova_first = options->iova_first;
    info->iova_last = options->iova_last;
    info->groups = info->asids = options->no_asid ? 1 : 2;
    info->suspend = !options->no_suspend;
    info->resume = !options->no_suspend && !options->no_resume;
    info->ring_state = !options->no_suspend;
    info->set_base = !options->no_base;
    info->enable_after_driver_ok = !options->no_enable_after_driver_ok;
    info->readdress = !options->no_suspend && !options->no_readdress;
    info->disable = !options->no_disable;
    info->maps_survive_reset = !options->reset_drops;
    info->passthrough = true;
}

static const struct vdt_sim_backend_ops *
choose_backend(const struct vdt_sim_options *options, const char **ret_arg)
{
    *ret_arg = options->tap ? options->tap : options->pair;
    return vdt_sim_backend_find(options->tap    ? "tap"
                                : options->pair ? "pair"
                                : options->null ? "null"
                                                : "loop");
}

struct vdt_device *
vdt_sim_open(const char *spec, const char *text, GError **error)
{
    struct vdt_sim *sim = g_new0(struct vdt_sim, 1);
    const struct vdt_sim_backend_ops *backend;
    const char *arg;

    sim->dev.ops = &ops;
    pthread_mutex_init(&sim->gate, NULL);
    pthread_mutex_init(&sim->lock, NULL);
    sim->epoll = sim->wake = sim->timer = sim->config_call = -1;
    for (unsigned i = 0; i < VDT_SIM_RINGS_MAX; i++)
        sim->rings[i].kick = sim->rings[i].call = -1;
    for (unsigned i = 0; i < VDT_SIM_ASIDS; i++)
        sim->space[i] = g_array_new(FALSE, FALSE, sizeof(struct vdt_sim_map));
    sim->faults = g_ptr_array_new_with_free_func(g_free);
    if (!vdt_sim_options_parse(&sim->options, text, error)) {
        sim->rand = g_rand_new_with_seed(1);
        close_sim(&sim->dev);
        return NULL;
    }
    sim->rand = g_rand_new_with_seed(sim->options.seed);
    memcpy(sim->mac, sim->options.mac, sizeof sim->mac);
    backend = choose_backend(&sim->options, &arg);
    sim->offered = offer(&sim->options, backend);
    fill_info(sim, spec);
    if (sim->options.features_change)
        sim->offered &= ~(VDT_BIT(VIRTIO_NET_F_MRG_RXBUF) | VDT_BIT(VIRTIO_NET_F_CTRL_VLAN));
    if (!vdt_sim_worker_start(sim, error) || !backend->open(sim, arg, error)) {
        close_sim(&sim->dev);
        return NULL;
    }
    sim->backend = backend;
    vdt_sim_lock(&sim->dev);
    reset(sim);
    vdt_sim_unlock(sim);
    return &sim->dev;
}
