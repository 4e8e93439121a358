/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/vdpa_message.h"

#include <errno.h>
#include <glib.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <linux/virtio_ids.h>
#include <string.h>

/* Of Linux 5.18 and newer; as numbers, since headers may be older. */
#define ATTR_NEGOTIATED 14
#define ATTR_MGMT_RINGS 15
#define ATTR_MGMT_FEATURES 16
#define ATTR_FEATURES 20
#define ATTRS 21
/* Where Linux 6.1 has a NIC's features; later kernels have a disk's capacity there. */
#define ATTR_FEATURES_6_1 21

#define FIELD(member) offsetof(struct vdt_vdpa_entry, member)

enum kind { KIND_NONE, KIND_TEXT, KIND_16, KIND_32, KIND_64, KIND_MAC };

static const struct {
    enum kind kind;
    uint32_t told;
    size_t at;
} attributes[ATTRS] = {
    [VDPA_ATTR_MGMTDEV_BUS_NAME] = {KIND_TEXT, VDT_VDPA_BUS, FIELD(bus)},
    [VDPA_ATTR_MGMTDEV_DEV_NAME] = {KIND_TEXT, VDT_VDPA_MGMT, FIELD(mgmt)},
    [VDPA_ATTR_MGMTDEV_SUPPORTED_CLASSES] = {KIND_64, VDT_VDPA_CLASSES, FIELD(classes)},
    [VDPA_ATTR_DEV_NAME] = {KIND_TEXT, VDT_VDPA_NAME, FIELD(name)},
    [VDPA_ATTR_DEV_ID] = {KIND_32, VDT_VDPA_TYPE, FIELD(type)},
    [VDPA_ATTR_DEV_VENDOR_ID] = {KIND_32, VDT_VDPA_VENDOR, FIELD(vendor)},
    [VDPA_ATTR_DEV_MAX_VQS] = {KIND_32, VDT_VDPA_RINGS, FIELD(rings)},
    [VDPA_ATTR_DEV_MAX_VQ_SIZE] = {KIND_16, VDT_VDPA_RING_MAX, FIELD(ring_max)},
    [VDPA_ATTR_DEV_MIN_VQ_SIZE] = {KIND_16, VDT_VDPA_RING_MIN, FIELD(ring_min)},
    [VDPA_ATTR_DEV_NET_CFG_MACADDR] = {KIND_MAC, VDT_VDPA_MAC, FIELD(mac)},
    [VDPA_ATTR_DEV_NET_STATUS] = {KIND_16, VDT_VDPA_LINK, FIELD(link)},
    [VDPA_ATTR_DEV_NET_CFG_MAX_VQP] = {KIND_16, VDT_VDPA_PAIRS, FIELD(pairs)},
    [VDPA_ATTR_DEV_NET_CFG_MTU] = {KIND_16, VDT_VDPA_MTU, FIELD(mtu)},
    [ATTR_NEGOTIATED] = {KIND_64, VDT_VDPA_NEGOTIATED, FIELD(negotiated)},
    [ATTR_MGMT_RINGS] = {KIND_32, VDT_VDPA_MGMT_RINGS, FIELD(mgmt_rings)},
    [ATTR_MGMT_FEATURES] = {KIND_64, VDT_VDPA_MGMT_FEATURES, FIELD(mgmt_features)},
    [ATTR_FEATURES] = {KIND_64, VDT_VDPA_FEATURES, FIELD(features)},
};

static struct nlmsghdr *
begin(void *buf, uint16_t type, uint8_t command, uint16_t flags, uint32_t seq)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(buf);
    struct genlmsghdr *generic = mnl_nlmsg_put_extra_header(message, sizeof *generic);

    message->nlmsg_type = type;
    message->nlmsg_flags = (uint16_t) (NLM_F_REQUEST | flags);
    message->nlmsg_seq = seq;
    generic->cmd = command;
    generic->version = VDPA_GENL_VERSION;
    return message;
}

size_t
vdt_vdpa_ask_family(void *buf, uint32_t seq)
{
    struct nlmsghdr *message = begin(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK, seq);

    mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
    return message->nlmsg_len;
}

size_t
vdt_vdpa_ask(void *buf, uint16_t family, uint8_t command, const char *name, uint32_t seq)
{
    struct nlmsghdr *message = begin(buf, family, command, name ? NLM_F_ACK : NLM_F_DUMP, seq);

    if (name && !mnl_attr_put_strz_check(message, VDT_VDPA_REQUEST_MAX, VDPA_ATTR_DEV_NAME, name))
        return 0;
    return message->nlmsg_len;
}

/* Device names end up in paths, on terminals and in JSON. */
static bool
take_text(char to[VDT_VDPA_NAME_MAX], const struct nlattr *attr, bool words)
{
    const char *from = mnl_attr_get_payload(attr);
    size_t len = strnlen(from, mnl_attr_get_payload_len(attr));

    if (len == 0 || (!words && len >= VDT_VDPA_NAME_MAX))
        return false;
    len = MIN(len, VDT_VDPA_NAME_MAX - 1);
    for (size_t i = 0; i < len; i++)
        to[i] = g_ascii_isgraph(from[i]) || (words && from[i] == ' ') ? from[i] : '?';
    to[len] = '\0';
    return true;
}

static bool
take_value(enum kind kind, const struct nlattr *attr, uint8_t *to)
{
    static const uint16_t sizes[] = {
        [KIND_16] = 2,
        [KIND_32] = 4,
        [KIND_64] = 8,
        [KIND_MAC] = 6,
    };

    if (kind == KIND_TEXT)
        return take_text((char *) to, attr, false);
    if (kind == KIND_NONE || mnl_attr_get_payload_len(attr) != sizes[kind])
        return false;
    memcpy(to, mnl_attr_get_payload(attr), sizes[kind]);
    return true;
}

/* @attr if it lies whole in @message, else NULL. (libmnl's own loop rounds the message's end up.)
 */
static const struct nlattr *
whole(const struct nlmsghdr *message, const void *attr)
{
    ptrdiff_t left = (const char *) message + message->nlmsg_len - (const char *) attr;

    return left > 0 && mnl_attr_ok(attr, (int) left) ? attr : NULL;
}

static const struct nlattr *
first(const struct nlmsghdr *message, size_t offset)
{
    return whole(message, mnl_nlmsg_get_payload_offset(message, offset));
}

static const struct nlattr *
next(const struct nlmsghdr *message, const struct nlattr *attr)
{
    return whole(message, mnl_attr_next(attr));
}

static void
take_entry(const struct nlmsghdr *message, struct vdt_vdpa_entry *entry)
{
    const struct nlattr *attr, *old_features = NULL;

    for (attr = first(message, sizeof(struct genlmsghdr)); attr; attr = next(message, attr)) {
        uint16_t type = mnl_attr_get_type(attr);

        if (type == ATTR_FEATURES_6_1)
            old_features = attr;
        if (type < ATTRS &&
            take_value(attributes[type].kind, attr, (uint8_t *) entry + attributes[type].at))
            entry->told |= attributes[type].told;
    }
    if (old_features && !(entry->told & VDT_VDPA_FEATURES) && entry->told & VDT_VDPA_TYPE &&
        entry->type == VIRTIO_ID_NET &&
        take_value(KIND_64, old_features, (uint8_t *) &entry->features))
        entry->told |= VDT_VDPA_FEATURES;
}

static void
take_family(const struct nlmsghdr *message, struct vdt_vdpa_answer *answer)
{
    const struct nlattr *attr;

    for (attr = first(message, sizeof(struct genlmsghdr)); attr; attr = next(message, attr)) {
        if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID && mnl_attr_get_payload_len(attr) == 2)
            answer->family = mnl_attr_get_u16(attr);
    }
}

/* Behind the error stands the request, whole or its header alone; behind that the words. */
static void
take_reason(const struct nlmsghdr *message, const struct nlmsgerr *error,
            struct vdt_vdpa_answer *answer)
{
    size_t skip = sizeof *error;
    const struct nlattr *attr;

    if (!(message->nlmsg_flags & NLM_F_ACK_TLVS))
        return;
    if (!(message->nlmsg_flags & NLM_F_CAPPED)) {
        size_t request = error->msg.nlmsg_len;

        if (request < sizeof error->msg || request > mnl_nlmsg_get_payload_len(message))
            return;
        skip += MNL_ALIGN(request - sizeof error->msg);
    }
    if (skip > mnl_nlmsg_get_payload_len(message))
        return;
    for (attr = first(message, skip); attr; attr = next(message, attr)) {
        if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG && take_text(answer->text, attr, true))
            return;
    }
}

static enum vdt_vdpa_part
take_end(const struct nlmsghdr *message, struct vdt_vdpa_answer *answer)
{
    const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);
    size_t least = message->nlmsg_type == NLMSG_DONE ? sizeof(int) : sizeof *error;

    if (mnl_nlmsg_get_payload_len(message) < least)
        answer->errnum = message->nlmsg_type == NLMSG_DONE ? 0 : EBADMSG;
    else
        answer->errnum = error->error < 0 && error->error > -4096 ? -error->error : 0;
    if (answer->errnum == 0)
        return VDT_VDPA_PART_DONE;
    if (answer->errnum == EINTR)
        return VDT_VDPA_PART_INTERRUPTED;
    if (message->nlmsg_type == NLMSG_ERROR && answer->errnum != EBADMSG)
        take_reason(message, error, answer);
    return VDT_VDPA_PART_REFUSED;
}

enum vdt_vdpa_part
vdt_vdpa_take(const void *bytes, size_t len, uint16_t family, uint32_t seq, uint32_t port,
              size_t *ret_used, struct vdt_vdpa_answer *answer)
{
    const struct nlmsghdr *message = bytes;

    memset(answer, 0, sizeof *answer);
    *ret_used = 0;
    if (len > INT32_MAX || !mnl_nlmsg_ok(message, (int) len))
        return VDT_VDPA_PART_OTHER;
    *ret_used = MIN(MNL_ALIGN((size_t) message->nlmsg_len), len);
    if (message->nlmsg_seq != seq || message->nlmsg_pid != port)
        return VDT_VDPA_PART_OTHER;
    if (message->nlmsg_flags & NLM_F_DUMP_INTR)
        return VDT_VDPA_PART_INTERRUPTED;
    if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
        return take_end(message, answer);
    if (message->nlmsg_type == NLMSG_OVERRUN)
        return VDT_VDPA_PART_INTERRUPTED;
    if (mnl_nlmsg_get_payload_len(message) < sizeof(struct genlmsghdr))
        return VDT_VDPA_PART_OTHER;
    if (message->nlmsg_type == GENL_ID_CTRL) {
        take_family(message, answer);
        return VDT_VDPA_PART_ENTRY;
    }
    if (family == 0 || message->nlmsg_type != family)
        return VDT_VDPA_PART_OTHER;
    take_entry(message, &answer->entry);
    return VDT_VDPA_PART_ENTRY;
}
