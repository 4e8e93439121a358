/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost_user/frontend_private.h"

#include <string.h>

#include <vdpa-tracker/error.h>

static bool
tell_state(struct vdt_frontend *frontend, enum vhost_user_request number, uint32_t ring,
           uint32_t num, GError **error)
{
    struct vhost_user_vring_state state = {.index = ring, .num = num};
    struct vdt_request request = {.number = number, .payload = &state, .size = sizeof(state)};

    return vdt_frontend_tell(frontend, &request, error);
}

static bool
tell_fd(struct vdt_frontend *frontend, enum vhost_user_request number, uint32_t ring, int fd,
        GError **error)
{
    uint64_t value = ring | (fd < 0 ? VHOST_USER_NO_FD : 0);
    struct vdt_request request = {number, &value, sizeof(value), &fd, fd >= 0};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_get_features(struct vdt_frontend *frontend, uint64_t *ret, GError **error)
{
    return vdt_frontend_ask_u64(frontend, VHOST_USER_GET_FEATURES, ret, error);
}

bool
vdt_frontend_set_features(struct vdt_frontend *frontend, uint64_t features, GError **error)
{
    return vdt_frontend_tell_u64(frontend, VHOST_USER_SET_FEATURES, features, error);
}

bool
vdt_frontend_get_queue_num(struct vdt_frontend *frontend, uint64_t *ret, GError **error)
{
    return vdt_frontend_ask_u64(frontend, VHOST_USER_GET_QUEUE_NUM, ret, error);
}

static struct vhost_user_region
to_region(const struct vdt_region_spec *spec)
{
    return (struct vhost_user_region){
        .gpa = spec->gpa,
        .size = spec->size,
        .frontend = spec->frontend,
        .offset = spec->offset,
    };
}

bool
vdt_frontend_set_memory(struct vdt_frontend *frontend, const struct vdt_region_spec *specs,
                        unsigned count, GError **error)
{
    struct vhost_user_mem_table table = {.count = count};
    int fds[VHOST_USER_TABLE_REGIONS];

    if (count > VHOST_USER_TABLE_REGIONS) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                    "a memory table has at most %u regions, not %u", VHOST_USER_TABLE_REGIONS,
                    count);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        table.regions[i] = to_region(&specs[i]);
        fds[i] = specs[i].fd;
    }
    struct vdt_request request = {VHOST_USER_SET_MEM_TABLE, &table,
                                  VHOST_USER_MEM_TABLE_SIZE(count), fds, count};
    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_get_max_slots(struct vdt_frontend *frontend, uint64_t *ret, GError **error)
{
    return vdt_frontend_ask_u64(frontend, VHOST_USER_GET_MAX_MEM_SLOTS, ret, error);
}

bool
vdt_frontend_add_region(struct vdt_frontend *frontend, const struct vdt_region_spec *spec,
                        GError **error)
{
    struct vhost_user_single_region single = {.region = to_region(spec)};
    struct vdt_request request = {VHOST_USER_ADD_MEM_REG, &single, sizeof(single), &spec->fd, 1};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_remove_region(struct vdt_frontend *frontend, const struct vdt_region_spec *spec,
                           GError **error)
{
    struct vhost_user_single_region single = {.region = to_region(spec)};
    struct vdt_request request = {VHOST_USER_REM_MEM_REG, &single, sizeof(single), NULL, 0};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_set_log(struct vdt_frontend *frontend, int fd, uint64_t offset, uint64_t size,
                     GError **error)
{
    struct vhost_user_log log = {.size = size, .offset = offset};
    struct vdt_request request = {VHOST_USER_SET_LOG_BASE, &log, sizeof(log), &fd, 1};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_set_num(struct vdt_frontend *frontend, uint32_t ring, uint32_t num, GError **error)
{
    return tell_state(frontend, VHOST_USER_SET_VRING_NUM, ring, num, error);
}

bool
vdt_frontend_set_addr(struct vdt_frontend *frontend, const struct vhost_user_vring_addr *addr,
                      GError **error)
{
    struct vdt_request request = {VHOST_USER_SET_VRING_ADDR, addr, sizeof(*addr), NULL, 0};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_set_base(struct vdt_frontend *frontend, uint32_t ring, uint32_t base, GError **error)
{
    return tell_state(frontend, VHOST_USER_SET_VRING_BASE, ring, base, error);
}

bool
vdt_frontend_get_base(struct vdt_frontend *frontend, uint32_t ring, uint32_t *ret_base,
                      GError **error)
{
    struct vhost_user_vring_state state = {.index = ring};
    struct vdt_request request = {VHOST_USER_GET_VRING_BASE, &state, sizeof(state), NULL, 0};

    if (!vdt_frontend_ask(frontend, &request, sizeof(state), error))
        return false;
    *ret_base = frontend->channel.message.payload.state.num;
    return true;
}

bool
vdt_frontend_set_kick(struct vdt_frontend *frontend, uint32_t ring, int fd, GError **error)
{
    return tell_fd(frontend, VHOST_USER_SET_VRING_KICK, ring, fd, error);
}

bool
vdt_frontend_set_call(struct vdt_frontend *frontend, uint32_t ring, int fd, GError **error)
{
    return tell_fd(frontend, VHOST_USER_SET_VRING_CALL, ring, fd, error);
}

bool
vdt_frontend_set_err(struct vdt_frontend *frontend, uint32_t ring, int fd, GError **error)
{
    return tell_fd(frontend, VHOST_USER_SET_VRING_ERR, ring, fd, error);
}

bool
vdt_frontend_set_enable(struct vdt_frontend *frontend, uint32_t ring, bool enable, GError **error)
{
    return tell_state(frontend, VHOST_USER_SET_VRING_ENABLE, ring, enable, error);
}

bool
vdt_frontend_get_status(struct vdt_frontend *frontend, uint8_t *ret, GError **error)
{
    uint64_t status;

    if (!vdt_frontend_ask_u64(frontend, VHOST_USER_GET_STATUS, &status, error))
        return false;
    *ret = (uint8_t) status;
    return true;
}

bool
vdt_frontend_set_status(struct vdt_frontend *frontend, uint8_t status, GError **error)
{
    return vdt_frontend_tell_u64(frontend, VHOST_USER_SET_STATUS, status, error);
}

bool
vdt_frontend_reset_device(struct vdt_frontend *frontend, GError **error)
{
    struct vdt_request request = {.number = VHOST_USER_RESET_DEVICE};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_get_config(struct vdt_frontend *frontend, uint32_t offset, void *buf, uint32_t len,
                        GError **error)
{
    struct vhost_user_config config = {.offset = offset, .size = len};
    struct vdt_request request = {VHOST_USER_GET_CONFIG, &config, VHOST_USER_CONFIG_HEADER + len,
                                  NULL, 0};

    g_assert(len <= VHOST_USER_CONFIG_MAX);
    if (!vdt_frontend_ask(frontend, &request, request.size, error))
        return false;
    memcpy(buf, frontend->channel.message.payload.config.data, len);
    return true;
}

bool
vdt_frontend_set_config(struct vdt_frontend *frontend, uint32_t offset, const void *buf,
                        uint32_t len, uint32_t flags, GError **error)
{
    struct vhost_user_config config = {.offset = offset, .size = len, .flags = flags};
    struct vdt_request request = {VHOST_USER_SET_CONFIG, &config, VHOST_USER_CONFIG_HEADER + len,
                                  NULL, 0};

    g_assert(len <= VHOST_USER_CONFIG_MAX);
    memcpy(config.data, buf, len);
    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_send_rarp(struct vdt_frontend *frontend, const uint8_t mac[6], GError **error)
{
    uint64_t value = 0;

    memcpy(&value, mac, 6);
    return vdt_frontend_tell_u64(frontend, VHOST_USER_SEND_RARP, value, error);
}

bool
vdt_frontend_set_mtu(struct vdt_frontend *frontend, uint16_t mtu, GError **error)
{
    return vdt_frontend_tell_u64(frontend, VHOST_USER_NET_SET_MTU, mtu, error);
}

bool
vdt_frontend_get_inflight(struct vdt_frontend *frontend, uint16_t queues, uint16_t queue_size,
                          struct vhost_user_inflight *ret, int *ret_fd, GError **error)
{
    struct vhost_user_inflight want = {.queues = queues, .queue_size = queue_size};
    struct vdt_request request = {VHOST_USER_GET_INFLIGHT_FD, &want, sizeof(want), NULL, 0};
    struct vdt_message *reply = &frontend->channel.message;

    if (!vdt_frontend_ask(frontend, &request, sizeof(want), error))
        return false;
    if (reply->fd_count != 1 || reply->payload.inflight.mmap_size == 0) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_REFUSED,
                            "the backend gave no area for in-flight requests");
        return false;
    }
    *ret = reply->payload.inflight;
    *ret_fd = vdt_message_take_fd(reply);
    return true;
}

bool
vdt_frontend_set_inflight(struct vdt_frontend *frontend, const struct vhost_user_inflight *inflight,
                          int fd, GError **error)
{
    struct vdt_request request = {VHOST_USER_SET_INFLIGHT_FD, inflight, sizeof(*inflight), &fd, 1};

    return vdt_frontend_tell(frontend, &request, error);
}
