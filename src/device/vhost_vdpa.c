/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bring-up in the kernel's order, and what a device says of itself. */
#include "device/vhost_vdpa.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/log.h"
#include "virtio/net_ctrl.h"

bool
vdt_vhost_fail(struct vdt_vhost *vhost, GError **error, int code, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, code, "device %s %s", vhost->dev.info.name, text);
    return false;
}

/* What the kernel's vhost and vDPA drivers mean by an errno. */
static const struct {
    int errnum, code;
    const char *text;
} meanings[] = {
    {EOPNOTSUPP, VDT_ERROR_UNSUPPORTED, "its driver does not support that"},
    {VDT_ENOTSUPP, VDT_ERROR_UNSUPPORTED, "its driver does not support that"},
    {ENOTTY, VDT_ERROR_UNSUPPORTED, "this kernel does not know how"},
    {EBUSY, VDT_ERROR_BUSY, "not in its present state"},
    {EINVAL, VDT_ERROR_INVALID, "the kernel or its driver finds the values invalid"},
    {ENOBUFS, VDT_ERROR_INVALID, "it has no such ring"},
    {EPERM, VDT_ERROR_FAILED, "this process does not own it"},
    {ENODEV, VDT_ERROR_FAILED, "it is gone"},
    {ENXIO, VDT_ERROR_FAILED, "it is gone"},
    {EIO, VDT_ERROR_FAILED, "it does not answer as it should"},
};

bool
vdt_vhost_ioctl(struct vdt_vhost *vhost, GError **error, unsigned long request, void *arg,
                const char *what, ...)
{
    const char *why = NULL;
    int code = VDT_ERROR_FAILED;
    va_list args;

    if (vhost->sys->ioctl(vhost->fd, request, arg) >= 0)
        return true;
    int errnum = errno;
    for (unsigned i = 0; i < G_N_ELEMENTS(meanings); i++) {
        if (meanings[i].errnum == errnum) {
            why = meanings[i].text;
            code = meanings[i].code;
        }
    }
    va_start(args, what);
    g_autofree char *text = g_strdup_vprintf(what, args);
    va_end(args);
    return vdt_vhost_fail(vhost, error, code, "cannot %s: %s (errno %d)", text,
                          why ? why : g_strerror(errnum), errnum);
}

static void
close_device(struct vdt_device *dev)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (vhost->fd >= 0)
        vhost->sys->close(vhost->fd);
    g_array_unref(vhost->maps);
    g_free(vhost->num);
    g_free(vhost);
}

static const char *const backend_names[] = {
    [VHOST_BACKEND_F_IOTLB_MSG_V2] = "IOTLB_MSG_V2",
    [VHOST_BACKEND_F_IOTLB_BATCH] = "IOTLB_BATCH",
    [VHOST_BACKEND_F_IOTLB_ASID] = "IOTLB_ASID",
    [VHOST_BACKEND_F_SUSPEND] = "SUSPEND",
    [VHOST_BACKEND_F_RESUME] = "RESUME",
    [VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK] = "ENABLE_AFTER_DRIVER_OK",
    [VHOST_BACKEND_F_IOTLB_PERSIST] = "IOTLB_PERSIST",
};

static JsonNode *
describe(struct vdt_device *dev)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    g_autoptr(JsonBuilder) builder = json_builder_new();
    uint64_t bytes = 0;

    for (unsigned i = 0; i < vhost->maps->len; i++)
        bytes += g_array_index(vhost->maps, struct vdt_vhost_map, i).size;
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "row");
    json_builder_add_string_value(builder, vhost->row->name);
    json_builder_set_member_name(builder, "backend_features");
    json_builder_begin_array(builder);
    for (unsigned i = 0; i < G_N_ELEMENTS(backend_names); i++) {
        if (backend_names[i] && vdt_vhost_has(vhost, i))
            json_builder_add_string_value(builder, backend_names[i]);
    }
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "status");
    json_builder_add_int_value(builder, vhost->status);
    json_builder_set_member_name(builder, "suspended");
    json_builder_add_boolean_value(builder, vhost->suspended);
    json_builder_set_member_name(builder, "keeps_mac");
    json_builder_add_boolean_value(builder, vhost->row->keeps_mac);
    json_builder_set_member_name(builder, "mappings");
    json_builder_add_int_value(builder, vhost->maps->len);
    json_builder_set_member_name(builder, "mapped_bytes");
    json_builder_add_int_value(builder, (gint64) bytes);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

static const struct vdt_device_ops ops = {
    .kind = "vhost-vdpa",
    .close = close_device,
    .set_features = vdt_vhost_set_features,
    .set_status = vdt_vhost_set_status,
    .get_status = vdt_vhost_get_status,
    .map = vdt_vhost_map,
    .unmap = vdt_vhost_unmap,
    .batch = vdt_vhost_batch,
    .get_group = vdt_vhost_get_group,
    .set_group_asid = vdt_vhost_set_group_asid,
    .set_num = vdt_vhost_set_num,
    .set_base = vdt_vhost_set_base,
    .get_base = vdt_vhost_get_base,
    .set_addr = vdt_vhost_set_addr,
    .set_kick = vdt_vhost_set_kick,
    .set_call = vdt_vhost_set_call,
    .set_enable = vdt_vhost_set_enable,
    .suspend = vdt_vhost_suspend,
    .resume = vdt_vhost_resume,
    .get_config = vdt_vhost_get_config,
    .set_config = vdt_vhost_set_config,
    .set_config_call = vdt_vhost_set_config_call,
    .memory_limit = vdt_vhost_memory_limit,
    .describe = describe,
};

/* Why a node cannot be opened, and what to do about it. */
static const struct {
    int errnum, code;
    const char *text;
} open_failures[] = {
    {EBUSY, VDT_ERROR_BUSY,
     "already open by another process: a vDPA device has one owner, a VMM or a tracker"},
    {ENOENT, VDT_ERROR_FAILED,
     "there is no such node: 'vdpa dev show' lists the vDPA devices of this host, 'vdpa dev add' "
     "makes one, and the module vhost_vdpa gives it a node"},
    {EACCES, VDT_ERROR_FAILED,
     "permission denied: the node's owner, group and mode ('ls -l', a udev rule) or the service's "
     "device policy do not let this user in"},
    {EPERM, VDT_ERROR_FAILED,
     "not permitted: the service's device policy (DeviceAllow=, a device cgroup) does not let this "
     "process in"},
    {ENOTTY, VDT_ERROR_USAGE, "that is no device node"},
    {VDT_ENOTSUPP, VDT_ERROR_UNSUPPORTED,
     "the device does DMA through an IOMMU and this host has none that works for it (boot with "
     "intel_iommu=on or amd_iommu=on; in a VM, give it a virtual IOMMU)"},
    {ENODEV, VDT_ERROR_FAILED, "the device is gone"},
    {ENXIO, VDT_ERROR_FAILED, "the device is gone"},
};

static bool
open_node(struct vdt_vhost *vhost, const char *path, GError **error)
{
    const char *spec = vhost->dev.info.name;

    vhost->fd = vhost->sys->open(path);
    if (vhost->fd >= 0)
        return true;
    for (unsigned i = 0; i < G_N_ELEMENTS(open_failures); i++) {
        if (open_failures[i].errnum == errno) {
            g_set_error(error, VDT_ERROR, open_failures[i].code, "cannot open %s: %s", spec,
                        open_failures[i].text);
            return false;
        }
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot open %s: %s", spec, g_strerror(errno));
    return false;
}

/* An ioctl that a kernel of its age may not have. */
static void
ask_if_known(struct vdt_vhost *vhost, unsigned long request, uint32_t *value)
{
    uint32_t answer = 0;

    if (vhost->sys->ioctl(vhost->fd, request, &answer) >= 0 && answer > 0)
        *value = answer;
}

static bool
identify(struct vdt_vhost *vhost, GError **error)
{
    struct vdt_device_info *info = &vhost->dev.info;

    /* The first call that only vhost-vdpa knows. */
    if (vhost->sys->ioctl(vhost->fd, VHOST_VDPA_GET_DEVICE_ID, &info->device_id) < 0) {
        if (errno == ENOTTY)
            return vdt_vhost_fail(vhost, error, VDT_ERROR_USAGE,
                                  "is no vDPA device: it does not know its device type");
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED, "does not tell its device type: %s",
                              g_strerror(errno));
    }
    return vdt_vhost_ioctl(vhost, error, VHOST_SET_OWNER, NULL, "be taken over (SET_OWNER)") &&
           vdt_vhost_ioctl(vhost, error, VHOST_GET_FEATURES, &info->features, "tell its features");
}

/* What we use of the backend features that the kernel offers. Taking one may be refused all the
 * same (the parent driver lacks it): then it goes without, except for the first. */
static bool
settle_backend(struct vdt_vhost *vhost, GError **error)
{
    uint64_t offered = 0, wanted = 0;

    if (!vdt_vhost_ioctl(vhost, error, VHOST_GET_BACKEND_FEATURES, &offered,
                         "tell its backend features"))
        return false;
    for (unsigned i = 0; i < G_N_ELEMENTS(backend_names); i++) {
        if (backend_names[i])
            wanted |= VDT_BIT(i);
    }
    wanted &= offered;
    if (!(wanted & VDT_BIT(VHOST_BACKEND_F_IOTLB_MSG_V2)))
        return vdt_vhost_fail(
            vhost, error, VDT_ERROR_UNSUPPORTED,
            "takes no IOTLB messages of version 2; Linux 5.19 or newer is needed");
    if (vhost->sys->ioctl(vhost->fd, VHOST_SET_BACKEND_FEATURES, &wanted) >= 0) {
        vhost->backend = wanted;
        return true;
    }
    uint64_t taken = VDT_BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);
    if (!vdt_vhost_ioctl(vhost, error, VHOST_SET_BACKEND_FEATURES, &taken,
                         "be talked to with IOTLB messages of version 2"))
        return false;
    for (unsigned i = VHOST_BACKEND_F_IOTLB_MSG_V2 + 1; i < G_N_ELEMENTS(backend_names); i++) {
        uint64_t more = taken | VDT_BIT(i);

        if (!(wanted & VDT_BIT(i)))
            continue;
        if (vhost->sys->ioctl(vhost->fd, VHOST_SET_BACKEND_FEATURES, &more) >= 0)
            taken = more;
        else
            vdt_info("%s offers the backend feature %s and does not take it", vhost->dev.info.name,
                     backend_names[i]);
    }
    vhost->backend = taken;
    return true;
}

static bool
measure(struct vdt_vhost *vhost, GError **error)
{
    struct vdt_device_info *info = &vhost->dev.info;
    struct vhost_vdpa_iova_range range = {0};

    if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_IOVA_RANGE, &range,
                         "tell its address range") ||
        !vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_CONFIG_SIZE, &info->config_size,
                         "tell the size of its config space") ||
        !vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_VQS_COUNT, &info->rings,
                         "tell how many rings it has") ||
        !vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_VRING_NUM, &info->ring_max,
                         "tell how large its rings may be"))
        return false;
    if (range.first > range.last)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "has no addresses: its range is 0x%" G_GINT64_MODIFIER
                              "x to 0x%" G_GINT64_MODIFIER "x",
                              (uint64_t) range.first, (uint64_t) range.last);
    if (info->rings == 0 || info->rings > VDT_VHOST_RINGS_MAX || info->ring_max == 0)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "says that it has %u rings of up to %u entries; it is not used",
                              info->rings, info->ring_max);
    info->iova_first = range.first;
    info->iova_last = range.last;
    info->ring_max = MIN(info->ring_max, VDT_RING_MAX);
    info->groups = info->asids = 1;
    /* The numbers mean nothing before the IOTLB takes an ASID. */
    if (vdt_vhost_has(vhost, VHOST_BACKEND_F_IOTLB_ASID)) {
        ask_if_known(vhost, VHOST_VDPA_GET_GROUP_NUM, &info->groups);
        ask_if_known(vhost, VHOST_VDPA_GET_AS_NUM, &info->asids);
    }
    vhost->num = g_new0(uint16_t, info->rings);
    return true;
}

/* What is told by the kernel, and what only the driver's row knows. */
static void
conclude(struct vdt_vhost *vhost, const char *driver)
{
    struct vdt_device_info *info = &vhost->dev.info;
    const struct vdt_vhost_driver *row = vhost->row = vdt_vhost_driver_find(driver);

    g_strlcpy(info->driver,
              row->sysfs[0] ? row->name
              : driver      ? driver
                            : "unknown",
              sizeof info->driver);
    info->suspend = vdt_vhost_has(vhost, VHOST_BACKEND_F_SUSPEND);
    info->resume = info->suspend && vdt_vhost_has(vhost, VHOST_BACKEND_F_RESUME);
    info->ring_state = info->suspend && row->base == VDT_VHOST_BASE_AVAIL;
    info->set_base = row->set_base;
    info->enable_after_driver_ok = vdt_vhost_has(vhost, VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK);
    info->readdress = info->resume && row->readdress && row->disable;
    info->disable = row->disable;
    info->maps_survive_reset = vdt_vhost_has(vhost, VHOST_BACKEND_F_IOTLB_PERSIST);
    info->passthrough = row->passthrough;
}

struct vdt_device *
vdt_vhost_vdpa_open(const char *spec, const char *path, GError **error)
{
    struct vdt_vhost *vhost;

    if (!path[0]) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                    "cannot open %s: the path of a node goes behind the colon, for example "
                    "vhost-vdpa:/dev/vhost-vdpa-0",
                    spec);
        return NULL;
    }
    vhost = g_new0(struct vdt_vhost, 1);
    vhost->dev.ops = &ops;
    vhost->sys = vdt_vhost_sys;
    vhost->fd = -1;
    vhost->owner = getpid();
    vhost->page = (uint64_t) sysconf(_SC_PAGESIZE);
    vhost->batch = -1;
    vhost->maps = g_array_new(FALSE, FALSE, sizeof(struct vdt_vhost_map));
    g_strlcpy(vhost->dev.info.name, spec, sizeof vhost->dev.info.name);
    if (open_node(vhost, path, error) && identify(vhost, error) && settle_backend(vhost, error) &&
        measure(vhost, error)) {
        g_autofree char *driver = vhost->sys->driver(path, vhost->dev.info.device_id);

        conclude(vhost, driver);
        return &vhost->dev;
    }
    close_device(&vhost->dev);
    return NULL;
}
