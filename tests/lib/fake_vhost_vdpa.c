/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/fake_vhost_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "device/sim.h"
#include "device/vhost_vdpa.h"
#include "virtio/features.h"

struct fake_vhost_kernel fake_vhost;
struct fake_vhost_seen fake_vhost_seen;
struct fake_vhost_node fake_vhost_nodes[FAKE_VHOST_DEVICES];

static int
fail(int errnum)
{
    errno = errnum;
    return -1;
}

static void
note(const char *name)
{
    size_t n = strlen(fake_vhost_seen.calls), len = strlen(name);
    const char *last = strrchr(fake_vhost_seen.calls, ' ');

    last = last ? last + 1 : fake_vhost_seen.calls;
    if (strcmp(last, name) != 0 && n + len + 2 < sizeof fake_vhost_seen.calls)
        snprintf(fake_vhost_seen.calls + n, sizeof fake_vhost_seen.calls - n, "%s%s", n ? " " : "",
                 name);
}

/* The parent's word where the kernel's call has no result. */
static void
silently(bool ok, GError *error)
{
    if (ok)
        return;
    if (fake_vhost.strict)
        g_error("refused and answered with success: %s", error ? error->message : "?");
    fake_vhost_seen.silent++;
    g_strlcpy(fake_vhost_seen.silent_text, error ? error->message : "?",
              sizeof fake_vhost_seen.silent_text);
    g_clear_error(&error);
}

#define SILENTLY(op, ...)                                                                          \
    do {                                                                                           \
        GError *silent_error = NULL;                                                               \
        bool silent_ok = node->parent->ops->op(node->parent, __VA_ARGS__, &silent_error);          \
        silently(silent_ok, silent_error);                                                         \
    } while (0)

int
fake_vhost_errno(GError *error)
{
    int code = error ? error->code : 0;

    g_clear_error(&error);
    return code == VDT_ERROR_UNSUPPORTED ? EOPNOTSUPP : code == VDT_ERROR_BUSY ? EBUSY : EINVAL;
}

static struct fake_vhost_node *
by_fd(int fd)
{
    for (unsigned i = 0; i < FAKE_VHOST_DEVICES; i++) {
        if (fd >= 0 && fake_vhost_nodes[i].parent && fake_vhost_nodes[i].fd == fd)
            return &fake_vhost_nodes[i];
    }
    g_error("fd %d is none of ours", fd);
}

static uint8_t
status_of(struct fake_vhost_node *node)
{
    uint8_t status = 0;

    node->parent->ops->get_status(node->parent, &status, NULL);
    return status | (node->failed ? VIRTIO_CONFIG_S_FAILED : 0);
}

static ssize_t
fake_write(int fd, const void *buf, size_t len)
{
    const struct vhost_msg_v2 *msg = buf;

    note("IOTLB");
    if (len != 72 || msg->type != VHOST_IOTLB_MSG_V2)
        return fail(EINVAL);
    return fake_vhost_message(by_fd(fd), msg) == 0 ? (ssize_t) len : fail(EFAULT);
}

/* --- ioctls --- */

static uint64_t
backend_offer(const struct fake_vhost_node *node)
{
    const struct vdt_device_info *info = &node->parent->info;
    uint64_t bits = VDT_BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) | VDT_BIT(VHOST_BACKEND_F_IOTLB_BATCH) |
                    VDT_BIT(VHOST_BACKEND_F_IOTLB_ASID);

    if (info->suspend)
        bits |= VDT_BIT(VHOST_BACKEND_F_SUSPEND);
    if (info->resume)
        bits |= VDT_BIT(VHOST_BACKEND_F_RESUME);
    if (info->enable_after_driver_ok)
        bits |= VDT_BIT(VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK);
    if (info->maps_survive_reset)
        bits |= VDT_BIT(VHOST_BACKEND_F_IOTLB_PERSIST);
    return bits & ~fake_vhost.lacks;
}

static int
set_status(struct fake_vhost_node *node, uint8_t status)
{
    uint8_t now = status_of(node);
    GError *error = NULL;

    if (status != 0 && (now & ~status))
        return EINVAL;
    if (status == 0) {
        node->failed = node->suspended = false;
        SILENTLY(set_status, 0);
        /* What nobody asked to persist does not, whatever the parent could do. */
        if (!(node->backend & VDT_BIT(VHOST_BACKEND_F_IOTLB_PERSIST))) {
            for (unsigned i = 0; i < FAKE_VHOST_MAPS; i++) {
                const struct fake_vhost_mapping *m = &node->maps[i];
                if (m->used)
                    node->parent->ops->unmap(node->parent, m->asid, m->iova, m->size, NULL);
            }
        }
        return 0;
    }
    if (!node->parent->ops->set_status(node->parent, status, &error)) {
        node->failed |= (status & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
        silently(false, error);
    }
    return 0;
}

static int
set_features(struct fake_vhost_node *node, uint64_t features)
{
    GError *error = NULL;

    if (status_of(node) & VIRTIO_CONFIG_S_FEATURES_OK)
        return EBUSY;
    if (!node->parent->ops->set_features(node->parent, features, &error)) {
        g_clear_error(&error);
        return EINVAL;
    }
    node->features = features;
    return 0;
}

static bool
is_eventfd(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *to = g_file_read_link(path, NULL);

    return to && strstr(to, "[eventfd]");
}

static int
config(struct fake_vhost_node *node, struct vhost_vdpa_config *arg, bool set)
{
    uint32_t size = node->parent->info.config_size;

    if (arg->len == 0 || arg->off > size || arg->len > size - arg->off)
        return EINVAL;
    if (set) {
        SILENTLY(set_config, arg->off, arg->buf, arg->len);
        return 0;
    }
    SILENTLY(get_config, arg->off, arg->buf, arg->len);
    if (fake_vhost.torn_config)
        arg->buf[0] ^= (uint8_t) node->reads++;
    return 0;
}

/* Running rings are not to be moved; vhost itself remembers the value before it finds out. */
static bool
is_frozen(struct fake_vhost_node *node)
{
    if (!(status_of(node) & VIRTIO_CONFIG_S_DRIVER_OK) || node->suspended)
        return true;
    fake_vhost_seen.stale++;
    return false;
}

static int
set_base(struct fake_vhost_node *node, const struct vhost_vring_state *s)
{
    bool packed = node->features & VDT_BIT(VIRTIO_F_RING_PACKED);
    struct vdt_ring_pos pos = {(uint16_t) s->num,
                               packed ? (uint16_t) (s->num >> 16) : (uint16_t) s->num};
    GError *error = NULL;

    if (!packed && s->num > 0xffff)
        return EINVAL;
    if (!is_frozen(node))
        return EINVAL;
    return node->parent->ops->set_base(node->parent, s->index, pos, &error)
               ? 0
               : fake_vhost_errno(error);
}

static int
get_base(struct fake_vhost_node *node, struct vhost_vring_state *s)
{
    bool packed = node->features & VDT_BIT(VIRTIO_F_RING_PACKED);
    struct vdt_ring_pos pos;
    GError *error = NULL;

    if (!node->parent->ops->get_base(node->parent, s->index, &pos, &error))
        return fake_vhost_errno(error);
    if (fake_vhost.base_is_used) {
        VDT_SIM_LOCKED(node->parent);
        pos.avail = pos.used = sim->rings[s->index].ring.pos.used;
    }
    s->num = pos.avail | (packed ? (uint32_t) pos.used << 16 : 0);
    if (fake_vhost.base_answer)
        s->num = fake_vhost.base_answer;
    return 0;
}

static int
set_addr(struct fake_vhost_node *node, const struct vhost_vring_addr *a)
{
    struct vdt_ring_addr addr = {a->desc_user_addr, a->avail_user_addr, a->used_user_addr};
    GError *error = NULL;

    if (a->flags)
        return EOPNOTSUPP;
    if (a->avail_user_addr % 2 || a->used_user_addr % 4 || !is_frozen(node))
        return EINVAL;
    if (node->parent->ops->set_addr(node->parent, a->index, &addr, &error))
        return 0;
    g_clear_error(&error);
    return EINVAL;
}

static int
set_file(struct fake_vhost_node *node, const struct vhost_vring_file *f, bool call)
{
    if (f->fd >= 0 && !is_eventfd(f->fd))
        return EINVAL;
    if (call)
        SILENTLY(set_call, f->index, f->fd);
    else
        SILENTLY(set_kick, f->index, f->fd);
    return 0;
}

static int
ring_ioctl(struct fake_vhost_node *node, unsigned long request, void *arg)
{
    struct vhost_vring_state *s = arg;
    const struct vdt_device_info *info = &node->parent->info;
    uint32_t spaces = fake_vhost.one_space ? 1 : info->asids;
    uint32_t groups = fake_vhost.one_space ? 1 : info->groups;
    GError *error = NULL;

    if (!node->owned || node->mm != getpid())
        return EPERM;
    if (s->index >= info->rings)
        return ENOBUFS; /* also for a group that is none */
    switch (request) {
    case VHOST_SET_VRING_NUM:
        note("NUM");
        if (s->num == 0 || s->num > 0xffff || (s->num & (s->num - 1)))
            return EINVAL;
        SILENTLY(set_num, s->index, (uint16_t) s->num);
        return 0;
    case VHOST_SET_VRING_BASE:
        note("BASE");
        return set_base(node, s);
    case VHOST_GET_VRING_BASE:
        note("GET_BASE");
        return get_base(node, s);
    case VHOST_SET_VRING_ADDR:
        note("ADDR");
        return set_addr(node, arg);
    case VHOST_SET_VRING_KICK:
        note("KICK");
        return set_file(node, arg, false);
    case VHOST_SET_VRING_CALL:
        note("CALL");
        return set_file(node, arg, true);
    case VHOST_VDPA_SET_VRING_ENABLE:
        note(s->num ? "ENABLE" : "DISABLE");
        fake_vhost_seen.disables += s->num == 0;
        SILENTLY(set_enable, s->index, s->num != 0);
        return 0;
    case VHOST_VDPA_GET_VRING_GROUP:
        note("GROUP");
        if (fake_vhost.no_groups)
            return EOPNOTSUPP;
        return node->parent->ops->get_group(node->parent, s->index, &s->num, &error)
                   ? 0
                   : fake_vhost_errno(error);
    case VHOST_VDPA_SET_GROUP_ASID:
        note("ASID");
        if (s->index >= groups || s->num >= spaces)
            return EINVAL;
        return node->parent->ops->set_group_asid(node->parent, s->index, s->num, &error)
                   ? 0
                   : fake_vhost_errno(error);
    }
    return ENOTTY;
}

static int
suspend(struct fake_vhost_node *node, bool on)
{
    GError *error = NULL;
    const struct vdt_device_info *info = &node->parent->info;

    if (on ? !info->suspend : !info->resume)
        return EOPNOTSUPP;
    if (fake_vhost.loses_driver_ok)
        node->parent->ops->set_status(node->parent, 0, NULL);
    if (!(status_of(node) & VIRTIO_CONFIG_S_DRIVER_OK))
        return 0; /* without acting */
    bool ok = on ? node->parent->ops->suspend(node->parent, &error)
                 : node->parent->ops->resume(node->parent, &error);
    if (!ok)
        return fake_vhost_errno(error);
    node->suspended = on;
    return 0;
}

static int
device_ioctl(struct fake_vhost_node *node, unsigned long request, void *arg)
{
    const struct vdt_device_info *info = &node->parent->info;
    struct vhost_vdpa_iova_range *range = arg;
    int *fd = arg;

    switch (request) {
    case VHOST_SET_OWNER:
        note("SET_OWNER");
        if (node->owned)
            return EBUSY;
        node->owned = true;
        node->mm = getpid();
        return 0;
    case VHOST_VDPA_GET_DEVICE_ID:
        note("DEVICE_ID");
        *(uint32_t *) arg = info->device_id;
        return 0;
    case VHOST_GET_FEATURES:
        note("FEATURES");
        *(uint64_t *) arg = info->features;
        return 0;
    case VHOST_SET_FEATURES:
        note("SET_FEATURES");
        return set_features(node, *(uint64_t *) arg);
    case VHOST_GET_BACKEND_FEATURES:
        note("BACKEND");
        *(uint64_t *) arg = backend_offer(node);
        return 0;
    case VHOST_SET_BACKEND_FEATURES:
        note("SET_BACKEND");
        if (*(uint64_t *) arg & (~backend_offer(node) | fake_vhost.takes_not))
            return EOPNOTSUPP;
        node->backend = *(uint64_t *) arg;
        return 0;
    case VHOST_VDPA_GET_STATUS:
        *(uint8_t *) arg = status_of(node);
        return 0;
    case VHOST_VDPA_SET_STATUS: {
        g_autofree char *name = g_strdup_printf("STATUS=%x", *(uint8_t *) arg);
        note(name);
        return set_status(node, *(uint8_t *) arg);
    }
    case VHOST_VDPA_GET_CONFIG:
        return config(node, arg, false);
    case VHOST_VDPA_SET_CONFIG:
        return config(node, arg, true);
    case VHOST_VDPA_SET_CONFIG_CALL:
        note("CONFIG_CALL");
        if (*fd >= 0 && !is_eventfd(*fd))
            return EINVAL;
        SILENTLY(set_config_call, *fd);
        return 0;
    case VHOST_VDPA_GET_IOVA_RANGE:
        note("RANGE");
        range->first = info->iova_first;
        range->last = fake_vhost.iova_last ? fake_vhost.iova_last : info->iova_last;
        return 0;
    case VHOST_VDPA_GET_CONFIG_SIZE:
        *(uint32_t *) arg = info->config_size;
        return 0;
    case VHOST_VDPA_GET_VQS_COUNT:
        *(uint32_t *) arg = info->rings;
        return 0;
    case VHOST_VDPA_GET_VRING_NUM:
        *(uint16_t *) arg = info->ring_max;
        return 0;
    case VHOST_VDPA_GET_GROUP_NUM:
        *(uint32_t *) arg = fake_vhost.one_space ? 1 : info->groups;
        return fake_vhost.old ? ENOTTY : 0;
    case VHOST_VDPA_GET_AS_NUM:
        *(uint32_t *) arg = fake_vhost.one_space ? 1 : info->asids;
        return fake_vhost.old ? ENOTTY : 0;
    case VHOST_VDPA_SUSPEND:
        note("SUSPEND");
        return suspend(node, true);
    case VHOST_VDPA_RESUME:
        note("RESUME");
        return suspend(node, false);
    case VHOST_SET_LOG_BASE:
    case VHOST_SET_LOG_FD:
        return ENOTTY;
    }
    return ring_ioctl(node, request, arg);
}

static int
fake_ioctl(int fd, unsigned long request, void *arg)
{
    int errnum = device_ioctl(by_fd(fd), request, arg);

    return errnum ? fail(errnum) : 0;
}

/* --- open, close --- */

static struct fake_vhost_node *
free_node(void)
{
    for (unsigned i = 0; i < FAKE_VHOST_DEVICES; i++) {
        if (!fake_vhost_nodes[i].parent)
            return &fake_vhost_nodes[i];
    }
    g_error("more than %u devices", FAKE_VHOST_DEVICES);
}

static int
fake_open(const char *path)
{
    struct fake_vhost_node *node = NULL;

    note("OPEN");
    if (fake_vhost.open_errno)
        return fail(fake_vhost.open_errno);
    for (unsigned i = 0; i < FAKE_VHOST_DEVICES; i++) {
        if (fake_vhost_nodes[i].standing && strcmp(fake_vhost_nodes[i].path, path) == 0)
            node = &fake_vhost_nodes[i];
    }
    if (!node && g_str_has_prefix(path, "sim")) {
        g_autoptr(GError) error = NULL;
        const char *colon = strchr(path, ':');
        struct vdt_device *parent = vdt_sim_open(path, colon ? colon + 1 : "", &error);

        if (!parent) {
            g_message("fake kernel: %s", error->message);
            return fail(ENODEV);
        }
        node = free_node();
        *node = (struct fake_vhost_node){.parent = parent};
        g_strlcpy(node->path, path, sizeof node->path);
        node->fd = -1;
    }
    if (!node)
        return fail(ENOENT);
    if (node->fd >= 0)
        return fail(EBUSY);
    node->fd = eventfd(0, EFD_CLOEXEC);
    set_status(node, 0);
    return node->fd;
}

static int
fake_close(int fd)
{
    struct fake_vhost_node *node = by_fd(fd);

    note("CLOSE");
    set_status(node, 0);
    for (unsigned asid = 0; asid < node->parent->info.asids; asid++)
        fake_vhost_invalidate(node, asid, 0, UINT64_MAX);
    vdt_close(fd);
    node->fd = -1;
    node->owned = node->in_batch = false;
    node->backend = node->features = 0;
    if (!node->standing) {
        vdt_device_close(node->parent);
        memset(node, 0, sizeof *node);
    }
    return 0;
}

static char *
fake_driver(const char *path, uint32_t device_id)
{
    return g_strdup(fake_vhost.driver_of ? fake_vhost.driver_of(path) : fake_vhost.driver);
}

static bool
fake_memlock(uint64_t *ret_pinned, uint64_t *ret_limit)
{
    *ret_pinned = fake_vhost_pinned();
    *ret_limit = fake_vhost.memlock ? fake_vhost.memlock : UINT64_MAX;
    return true;
}

static bool
fake_raise(void)
{
    if (fake_vhost.memlock_hard <= fake_vhost.memlock)
        return false;
    fake_vhost.memlock = fake_vhost.memlock_hard;
    return true;
}

static uint64_t
fake_entries(void)
{
    return fake_vhost.iotlb_entries;
}

static const struct vdt_vhost_sys fake = {
    .open = fake_open,
    .close = fake_close,
    .ioctl = fake_ioctl,
    .write = fake_write,
    .driver = fake_driver,
    .memlock = fake_memlock,
    .raise_memlock = fake_raise,
    .iotlb_entries = fake_entries,
};

void
fake_vhost_install(void)
{
    fake_vhost = (struct fake_vhost_kernel){.driver = "vdpasim_net"};
    memset(&fake_vhost_seen, 0, sizeof fake_vhost_seen);
    vdt_vhost_sys = &fake;
}

void
fake_vhost_put(const char *path, struct vdt_device *dev)
{
    struct fake_vhost_node *node = free_node();

    *node = (struct fake_vhost_node){.parent = dev, .standing = true, .fd = -1};
    g_strlcpy(node->path, path, sizeof node->path);
}

void
fake_vhost_remove_all(void)
{
    for (unsigned i = 0; i < FAKE_VHOST_DEVICES; i++) {
        if (fake_vhost_nodes[i].standing) {
            vdt_device_close(fake_vhost_nodes[i].parent);
            memset(&fake_vhost_nodes[i], 0, sizeof fake_vhost_nodes[i]);
        }
    }
}

struct vdt_device *
fake_vhost_parent(struct vdt_device *dev)
{
    return by_fd(vdt_vhost_of(dev)->fd)->parent;
}
