/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "random/side.h"

#include <sys/mman.h>
#include <unistd.h>

#include <linux/vhost_types.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "device/sim.h"
#include "snapshot/snapshot.h"

#define RUNNING 0xf
#define DEADLINE_MS 2000
#define PROTOCOL_STATUS 16
#define LOG_ALL VDT_BIT(VHOST_F_LOG_ALL)
#define MORE_SIZE 0x10000u /* of the region that comes and goes */
#define MORE_FRONTEND 0x100000000000ull

bool
side_open(struct side *side, const char *spec, enum vdt_shadow_policy policy, struct vdt_ram *ram,
          GError **error)
{
    struct vdt_nic_options options = {
        .name = "random", .policy = policy, .workers = 1, .deadline_ms = DEADLINE_MS};

    *side = (struct side){.context = g_main_context_new(), .ram = ram};
    options.context = side->context;
    side->dev = vdt_device_open(spec, error);
    if (!side->dev)
        return false;
    side->nic = vdt_nic_new(side->dev, &options, error);
    if (!side->nic)
        return false;
    vdt_nic_backend()->set_protocol_features(side->nic, VDT_BIT(PROTOCOL_STATUS));
    side->offered = vdt_nic_offered(side->nic);
    return vdt_nic_backend()->get_config(side->nic, 0, sizeof(side->config),
                                         (uint8_t *) &side->config, error);
}

void
side_close(struct side *side)
{
    if (!side->context)
        return;
    vdt_nic_free(side->nic);
    if (side->log)
        munmap(side->log, side->ram->words * sizeof(uint64_t));
    vdt_guest_map_unref(side->map);
    g_main_context_unref(side->context);
    *side = (struct side){0};
}

void
side_run(struct side *side)
{
    while (g_main_context_iteration(side->context, FALSE))
        ;
}

static bool
start_ring(struct side *side, const struct vdt_queue *queue, uint32_t base, GError **error)
{
    const struct vdt_backend_ops *ops = vdt_nic_backend();
    const struct vdt_vring_addr addr = {
        .ring = queue->index,
        .desc = vdt_ram_frontend(side->ram, queue->addr.desc),
        .avail = vdt_ram_frontend(side->ram, queue->addr.driver),
        .used = vdt_ram_frontend(side->ram, queue->addr.device),
    };

    return ops->set_num(side->nic, queue->index, queue->ring.format.num, error) &&
           ops->set_base(side->nic, queue->index, base, error) &&
           ops->set_addr(side->nic, &addr, error) &&
           ops->set_call(side->nic, queue->index, dup(queue->call), error) &&
           ops->set_kick(side->nic, queue->index, dup(queue->kick), error);
}

static bool
runs(struct side *side)
{
    VDT_SIM_LOCKED(side->dev);

    return vdt_sim_running(sim);
}

static char *
failure(struct side *side)
{
    g_autoptr(JsonNode) status = vdt_nic_status(side->nic);
    JsonObject *object = json_node_get_object(status);

    if (!json_object_has_member(object, "failure") ||
        json_node_is_null(json_object_get_member(object, "failure")))
        return NULL;
    return g_strdup(json_object_get_string_member(object, "failure"));
}

/* The NIC starts once a burst of messages is over; all of it happens in one turn of its loop. */
static bool
await_start(struct side *side, GError **error)
{
    int64_t end = g_get_monotonic_time() + 2 * DEADLINE_MS * 1000;

    while (g_get_monotonic_time() < end) {
        g_autofree char *why = NULL;

        if (!g_main_context_iteration(side->context, FALSE)) {
            g_usleep(50);
            continue;
        }
        if (runs(side))
            return true;
        why = failure(side);
        if (why) {
            g_set_error_literal(error, VDT_ERROR, VDT_ERROR_REFUSED, why);
            return false;
        }
    }
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_TIMEOUT, "it does not start");
    return false;
}

static struct vdt_guest_map *
next_map(struct side *side, enum side_memory how, int fd, GError **error)
{
    struct vdt_region_spec specs[VDT_RAM_REGIONS + 1];
    struct vdt_region_spec *more = &specs[VDT_RAM_REGIONS];

    vdt_ram_specs(side->ram, specs);
    *more = (struct vdt_region_spec){.gpa = more[-1].gpa + more[-1].size + MORE_SIZE,
                                     .size = MORE_SIZE,
                                     .frontend = MORE_FRONTEND,
                                     .fd = fd};
    side->regions = VDT_RAM_REGIONS + (how == SIDE_LONGER_TABLE || how == SIDE_ADD_REGION);
    switch (how) {
    case SIDE_ADD_REGION:
        return vdt_guest_map_with(side->map, more, error);
    case SIDE_REMOVE_REGION:
        return vdt_guest_map_without(side->map, more->gpa, more->size, more->frontend, error);
    default:
        return vdt_guest_map_from_table(specs, side->regions, error);
    }
}

bool
side_memory(struct side *side, enum side_memory how, GError **error)
{
    VDT_AUTO_FD fd = vdt_memfd("random-more", MORE_SIZE, error);
    struct vdt_guest_map *map = fd < 0 ? NULL : next_map(side, how, fd, error);

    if (!map)
        return false;
    vdt_guest_map_unref(side->map);
    side->map = map;
    return vdt_nic_backend()->set_memory(side->nic, map, error);
}

bool
side_start(struct side *side, struct vdt_driver *driver, const uint32_t *bases, GError **error)
{
    const struct vdt_backend_ops *ops = vdt_nic_backend();
    unsigned count = vdt_driver_queue_count(driver);

    if (!ops->set_features(side->nic, driver->config.features, error) ||
        !side_memory(side, SIDE_TABLE, error))
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct vdt_queue *queue = vdt_driver_queue(driver, i);
        const struct vdt_ring_format *format = &queue->ring.format;
        uint32_t base = vdt_ring_pos_to_base(format, vdt_ring_pos_initial(format->kind));

        if (!start_ring(side, queue, bases ? bases[i] : base, error))
            return false;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!ops->set_enable(side->nic, vdt_driver_queue(driver, i)->index, true, error))
            return false;
    }
    return ops->set_status(side->nic, RUNNING, error) && await_start(side, error);
}

bool
side_log(struct side *side, struct vdt_driver *driver, GError **error)
{
    uint64_t size = side->ram->words * sizeof(uint64_t);
    int fd = vdt_memfd("random-log", size, error);
    void *map;

    if (fd < 0)
        return false;
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert(map != MAP_FAILED);
    if (side->log)
        munmap(side->log, size);
    side->log = map;
    return vdt_nic_backend()->set_log(side->nic, fd, 0, size, error) &&
           vdt_nic_backend()->set_features(side->nic, driver->config.features | LOG_ALL, error);
}

bool
side_log_off(struct side *side, struct vdt_driver *driver, GError **error)
{
    return vdt_nic_backend()->set_features(side->nic, driver->config.features, error);
}

bool
side_stop(struct side *side, struct vdt_driver *driver, uint32_t *ret_bases, GError **error)
{
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        if (vdt_nic_backend()->get_base(side->nic, vdt_driver_queue(driver, i)->index,
                                        &ret_bases[i], error) != VDT_ANSWER_NOW)
            return false;
    }
    return true;
}

bool
side_reset(struct side *side, GError **error)
{
    return vdt_nic_backend()->set_status(side->nic, 0, error);
}

char *
side_device_state(struct side *side, GError **error)
{
    g_autoptr(JsonNode) node = vdt_nic_device_state(side->nic, error);

    return node ? json_to_string(node, FALSE) : NULL;
}

char *
side_faults(struct side *side)
{
    VDT_SIM_LOCKED(side->dev);

    if (sim->fault_count == 0)
        return NULL;
    return g_strdup(sim->faults->len ? g_ptr_array_index(sim->faults, 0) : "without words");
}

uint64_t
side_mapped(struct side *side)
{
    VDT_SIM_LOCKED(side->dev);
    uint64_t sum = 0;

    for (unsigned i = 0; i < VDT_SIM_ASIDS; i++) {
        for (unsigned n = 0; n < sim->space[i]->len; n++)
            sum += g_array_index(sim->space[i], struct vdt_sim_map, n).size;
    }
    return sum;
}

uint64_t
side_frames_out(struct side *side)
{
    VDT_SIM_LOCKED(side->dev);

    return sim->frames_out;
}
