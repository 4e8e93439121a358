/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/vdpa_netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/vdpa.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <vdpa-tracker/error.h>

#define WAIT_MS 2000
#define ENTRIES_MAX 4096u
#define ATTEMPTS 5u
#define BUFFER (64u << 10) /* the kernel's datagrams are at most 32 KiB */

struct vdt_vdpa_netlink {
    struct vdt_vdpa_link link;
    struct mnl_socket *socket; /* owned, NULL with a link of the caller's */
    bool open;
    uint32_t port, seq;
    uint16_t family;
    uint8_t *buffer; /* owned */
};

/* --- the kernel --- */

static bool
kernel_open(void *ctx, uint32_t *ret_port)
{
    struct vdt_vdpa_netlink *n = ctx;
    struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    int on = 1;

    n->socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
    if (!n->socket)
        return false;
    if (mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(n->socket), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0) {
        int errnum = errno;

        mnl_socket_close(n->socket);
        errno = errnum;
        return false;
    }
    /* The kernel's reasons in words; it may be too old for that. */
    mnl_socket_setsockopt(n->socket, NETLINK_EXT_ACK, &on, sizeof on);
    mnl_socket_setsockopt(n->socket, NETLINK_CAP_ACK, &on, sizeof on);
    *ret_port = mnl_socket_get_portid(n->socket);
    return true;
}

static ssize_t
kernel_send(void *ctx, const void *bytes, size_t len)
{
    struct vdt_vdpa_netlink *n = ctx;

    return mnl_socket_sendto(n->socket, bytes, len);
}

static ssize_t
kernel_receive(void *ctx, void *buf, size_t size)
{
    struct vdt_vdpa_netlink *n = ctx;

    return mnl_socket_recvfrom(n->socket, buf, size);
}

static void
kernel_close(void *ctx)
{
    struct vdt_vdpa_netlink *n = ctx;

    mnl_socket_close(n->socket);
}

/* --- question and answer --- */

static bool
fail(GError **error, int code, const char *what, const char *why)
{
    g_set_error(error, VDT_ERROR, code, "cannot ask the kernel for %s over netlink: %s", what, why);
    return false;
}

static bool
refused(const struct vdt_vdpa_answer *answer, const char *what, GError **error)
{
    g_autofree char *why =
        answer->text[0] ? g_strdup_printf("%s (%s)", answer->text, g_strerror(answer->errnum))
                        : g_strdup(g_strerror(answer->errnum));

    return fail(error, VDT_ERROR_FAILED, what, why);
}

/* What an answer's messages come to. */
struct collection {
    GArray *entries; /* of struct vdt_vdpa_entry */
    uint16_t family;
    bool interrupted;
};

/* One datagram. True: nothing follows. */
static bool
take_datagram(struct vdt_vdpa_netlink *n, size_t len, struct collection *to,
              struct vdt_vdpa_answer *answer)
{
    size_t used;

    for (size_t at = 0; at < len; at += used) {
        switch (
            vdt_vdpa_take(n->buffer + at, len - at, n->family, n->seq, n->port, &used, answer)) {
        case VDT_VDPA_PART_ENTRY:
            if (answer->family)
                to->family = answer->family;
            if (answer->entry.told && to->entries->len < ENTRIES_MAX)
                g_array_append_val(to->entries, answer->entry);
            break;
        case VDT_VDPA_PART_INTERRUPTED:
            to->interrupted = true;
            return true;
        case VDT_VDPA_PART_DONE:
        case VDT_VDPA_PART_REFUSED:
            return true;
        case VDT_VDPA_PART_OTHER:
            break;
        }
        if (used == 0)
            break;
    }
    return false;
}

/* Late answers to an earlier question have another number and are passed over. */
static bool
exchange(struct vdt_vdpa_netlink *n, const void *request, size_t len, const char *what,
         struct collection *to, GError **error)
{
    int64_t end = g_get_monotonic_time() + WAIT_MS * INT64_C(1000);
    struct vdt_vdpa_answer answer = {0};

    if (len == 0)
        return fail(error, VDT_ERROR_USAGE, what, "the name is too long");
    if (n->link.send(n->link.ctx, request, len) < 0)
        return fail(error, VDT_ERROR_FAILED, what, g_strerror(errno));
    do {
        ssize_t got = n->link.receive(n->link.ctx, n->buffer, BUFFER);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(error, errno == EAGAIN ? VDT_ERROR_TIMEOUT : VDT_ERROR_FAILED, what,
                        errno == EAGAIN ? "it does not answer" : g_strerror(errno));
        if (take_datagram(n, (size_t) got, to, &answer))
            return answer.errnum == 0 || to->interrupted || refused(&answer, what, error);
    } while (g_get_monotonic_time() < end);
    return fail(error, VDT_ERROR_TIMEOUT, what, "its answer has no end");
}

static GArray *
ask(struct vdt_vdpa_netlink *n, uint8_t command, const char *name, const char *what, GError **error)
{
    struct collection all = {.entries = g_array_new(FALSE, FALSE, sizeof(struct vdt_vdpa_entry))};
    _Alignas(struct nlmsghdr) uint8_t request[VDT_VDPA_REQUEST_MAX];

    for (unsigned i = 0; i < ATTEMPTS; i++) {
        all.interrupted = false;
        g_array_set_size(all.entries, 0);
        size_t len = vdt_vdpa_ask(request, n->family, command, name, ++n->seq);
        if (!exchange(n, request, len, what, &all, error))
            break;
        if (!all.interrupted)
            return all.entries;
        if (i + 1 == ATTEMPTS)
            fail(error, VDT_ERROR_BUSY, what, "the list changed each time while it was read");
    }
    g_array_unref(all.entries);
    return NULL;
}

static bool
find_family(struct vdt_vdpa_netlink *n, GError **error)
{
    _Alignas(struct nlmsghdr) uint8_t request[VDT_VDPA_REQUEST_MAX];
    g_autoptr(GArray) none = g_array_new(FALSE, FALSE, sizeof(struct vdt_vdpa_entry));
    struct collection all = {.entries = none};
    size_t len = vdt_vdpa_ask_family(request, ++n->seq);

    if (exchange(n, request, len, "its vdpa family", &all, error) && all.family) {
        n->family = all.family;
        return true;
    }
    g_clear_error(error);
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                        "the kernel has no vdpa netlink family here: its module vdpa is not "
                        "loaded, or this is a network namespace of its own");
    return false;
}

struct vdt_vdpa_netlink *
vdt_vdpa_netlink_new(const struct vdt_vdpa_link *link, GError **error)
{
    VDT_AUTO(vdpa_netlink) n = g_new0(struct vdt_vdpa_netlink, 1);

    n->link =
        link ? *link
             : (struct vdt_vdpa_link){kernel_open, kernel_send, kernel_receive, kernel_close, n};
    n->buffer = g_malloc(BUFFER);
    n->open = n->link.open(n->link.ctx, &n->port);
    if (!n->open) {
        fail(error, VDT_ERROR_UNSUPPORTED, "anything", g_strerror(errno));
        return NULL;
    }
    return find_family(n, error) ? g_steal_pointer(&n) : NULL;
}

void
vdt_vdpa_netlink_free(struct vdt_vdpa_netlink *n)
{
    if (!n)
        return;
    if (n->open)
        n->link.close(n->link.ctx);
    g_free(n->buffer);
    g_free(n);
}

GArray *
vdt_vdpa_netlink_managers(struct vdt_vdpa_netlink *n, GError **error)
{
    return ask(n, VDPA_CMD_MGMTDEV_GET, NULL, "management devices", error);
}

GArray *
vdt_vdpa_netlink_devices(struct vdt_vdpa_netlink *n, GError **error)
{
    return ask(n, VDPA_CMD_DEV_GET, NULL, "vDPA devices", error);
}

static bool
ask_one(struct vdt_vdpa_netlink *n, uint8_t command, const char *kind, const char *name,
        struct vdt_vdpa_entry *ret_entry, GError **error)
{
    g_autofree char *what = g_strdup_printf("%s %s", kind, name);
    g_autoptr(GArray) entries = ask(n, command, name, what, error);

    for (unsigned i = 0; entries && i < entries->len; i++) {
        const struct vdt_vdpa_entry *entry = &g_array_index(entries, struct vdt_vdpa_entry, i);

        if (entry->told & VDT_VDPA_NAME && strcmp(entry->name, name) == 0) {
            *ret_entry = *entry;
            return true;
        }
    }
    return entries && fail(error, VDT_ERROR_INVALID, what, "it answered about something else");
}

bool
vdt_vdpa_netlink_device(struct vdt_vdpa_netlink *n, const char *name,
                        struct vdt_vdpa_entry *ret_entry, GError **error)
{
    return ask_one(n, VDPA_CMD_DEV_GET, "vDPA device", name, ret_entry, error);
}

/* One by one: a list ends without a word at the first device that has nothing to say (before it is
 * negotiated on older kernels, or no NIC). */
bool
vdt_vdpa_netlink_config(struct vdt_vdpa_netlink *n, const char *name,
                        struct vdt_vdpa_entry *ret_entry, GError **error)
{
    return ask_one(n, VDPA_CMD_DEV_CONFIG_GET, "the config of vDPA device", name, ret_entry, error);
}
