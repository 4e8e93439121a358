/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/sim.h"

#include "virtio/features.h"

static JsonObject *
describe_ring(const struct vdt_sim *sim, uint32_t index)
{
    static const char *const roles[] = {"receive", "transmit", "control"};
    const struct vdt_sim_ring *ring = &sim->rings[index];
    struct vdt_ring_pos pos = ring->live && !sim->suspended ? ring->ring.pos : ring->base;
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "index", index);
    json_object_set_string_member(object, "role", roles[vdt_sim_ring_role(sim, index)]);
    json_object_set_int_member(object, "num", ring->num);
    json_object_set_boolean_member(object, "enabled", ring->enabled);
    json_object_set_boolean_member(object, "live", ring->live);
    json_object_set_boolean_member(object, "broken", ring->broken);
    json_object_set_int_member(object, "avail", pos.avail);
    json_object_set_int_member(object, "used", pos.used);
    json_object_set_int_member(object, "in_flight", ring->stock.length);
    json_object_set_int_member(object, "backlog", ring->backlog.length);
    json_object_set_int_member(object, "kicks", (gint64) ring->kicks);
    json_object_set_int_member(object, "calls", (gint64) ring->calls);
    json_object_set_int_member(object, "chains", (gint64) ring->chains);
    json_object_set_int_member(object, "frames", (gint64) ring->frames);
    json_object_set_int_member(object, "bytes", (gint64) ring->bytes);
    json_object_set_int_member(object, "dropped", (gint64) (ring->drops + ring->overruns));
    json_object_set_int_member(object, "malformed", (gint64) ring->malformed);
    return object;
}

static JsonArray *
describe_spaces(const struct vdt_sim *sim)
{
    JsonArray *array = json_array_new();

    for (uint32_t asid = 0; asid < sim->dev.info.asids; asid++) {
        const GArray *space = sim->space[asid];
        JsonObject *object = json_object_new();
        uint64_t bytes = 0;

        for (unsigned i = 0; i < space->len; i++)
            bytes += g_array_index(space, struct vdt_sim_map, i).size;
        json_object_set_int_member(object, "asid", asid);
        json_object_set_int_member(object, "mappings", space->len);
        json_object_set_int_member(object, "bytes", (gint64) bytes);
        json_array_add_object_element(array, object);
    }
    return array;
}

JsonNode *
vdt_sim_describe(struct vdt_device *dev)
{
    VDT_SIM_LOCKED(dev);
    g_autofree char *features = vdt_features_to_string(VIRTIO_ID_NET, sim->features);
    JsonObject *object = json_object_new();
    JsonArray *rings = json_array_new(), *faults = json_array_new();
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_string_member(object, "device", dev->info.name);
    json_object_set_int_member(object, "status", sim->status);
    json_object_set_boolean_member(object, "suspended", sim->suspended);
    json_object_set_string_member(object, "features", features);
    json_object_set_int_member(object, "resets", sim->resets);
    json_object_set_int_member(object, "config_generation", sim->config_generation);
    json_object_set_int_member(object, "queue_pairs", sim->net.queue_pairs);
    json_object_set_int_member(object, "frames_sent", (gint64) sim->frames_out);
    json_object_set_int_member(object, "frames_received", (gint64) sim->frames_in);
    json_object_set_int_member(object, "frames_filtered", (gint64) sim->frames_filtered);
    json_object_set_int_member(object, "frames_dropped", (gint64) sim->frames_dropped);
    json_object_set_int_member(object, "commands", (gint64) sim->commands);
    json_object_set_int_member(object, "commands_ok", (gint64) sim->commands_ok);
    json_object_set_boolean_member(object, "unicast_overflow", sim->unicast_overflow);
    json_object_set_boolean_member(object, "multicast_overflow", sim->multicast_overflow);
    for (uint32_t i = 0; i < dev->info.rings; i++)
        json_array_add_object_element(rings, describe_ring(sim, i));
    json_object_set_array_member(object, "rings", rings);
    json_object_set_array_member(object, "iotlb", describe_spaces(sim));
    for (unsigned i = 0; i < sim->faults->len; i++)
        json_array_add_string_element(faults, sim->faults->pdata[i]);
    json_object_set_array_member(object, "faults", faults);
    json_object_set_int_member(object, "fault_count", (gint64) sim->fault_count);
    json_node_take_object(node, object);
    return node;
}
