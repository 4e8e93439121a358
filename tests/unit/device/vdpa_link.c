/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vdpa_link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <string.h>

#include "vdpa_recorded.h"

static uint8_t *
unhex(const char *hex, size_t *ret_len)
{
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = g_malloc(len);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t) (g_ascii_xdigit_value(hex[2 * i]) << 4 |
                              g_ascii_xdigit_value(hex[2 * i + 1]));
    *ret_len = len;
    return bytes;
}

uint8_t *
vdpa_link_message(uint8_t command, const char *name, size_t *ret_len)
{
    uint8_t *bytes = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(recorded); i++) {
        if (recorded[i].command == command && !recorded[i].control &&
            g_strcmp0(recorded[i].name, name) == 0)
            bytes = unhex(recorded[i].hex, ret_len);
    }
    cr_assert(bytes, "nothing was recorded of %s", name);
    return bytes;
}

uint8_t *
vdpa_link_absent(size_t *ret_len)
{
    return unhex(recorded_absent, ret_len);
}

/* Hand it out as an answer to question @seq. */
static void
answer(struct vdpa_link *link, uint8_t *bytes, size_t len, uint32_t seq)
{
    struct nlmsghdr *message = (struct nlmsghdr *) bytes;

    message->nlmsg_seq = seq;
    message->nlmsg_pid = VDPA_LINK_PORT;
    if (link->cut && len > link->cut)
        len = link->cut;
    if (link->spoil)
        link->spoil(bytes, len, link->spoil_ctx);
    g_queue_push_tail(link->queue, g_bytes_new_take(bytes, len));
}

static void
end(struct vdpa_link *link, uint16_t type, int errnum, uint32_t seq)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
    } message = {.header = {.nlmsg_len = sizeof message, .nlmsg_type = type},
                 .error = {.error = -errnum}};

    answer(link, g_memdup2(&message, sizeof message), sizeof message, seq);
}

static bool
open_link(void *ctx, uint32_t *ret_port)
{
    struct vdpa_link *link = ctx;

    errno = EAFNOSUPPORT;
    *ret_port = VDPA_LINK_PORT;
    link->opened += !link->closed;
    return !link->closed;
}

static ssize_t
send_link(void *ctx, const void *bytes, size_t len)
{
    struct vdpa_link *link = ctx;
    const struct nlmsghdr *question = bytes;
    const struct genlmsghdr *generic = NLMSG_DATA(question);
    const struct nlattr *attr = (const struct nlattr *) (generic + 1);
    bool list = question->nlmsg_flags & NLM_F_DUMP;
    bool control = question->nlmsg_type == GENL_ID_CTRL;
    const char *name = list || control ? NULL : (const char *) (attr + 1);
    unsigned found = 0;

    cr_assert_eq(question->nlmsg_len, len);
    link->asked++;
    if (link->silent)
        return (ssize_t) len;
    for (unsigned i = 0; i < link->stale; i++)
        end(link, NLMSG_DONE, 0, question->nlmsg_seq - 1);
    if ((control && link->no_family) || (!control && link->refuses == generic->cmd)) {
        end(link, NLMSG_ERROR, control ? ENOENT : EAGAIN, question->nlmsg_seq);
        return (ssize_t) len;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(recorded); i++) {
        size_t size;

        if (recorded[i].control != control || recorded[i].command != generic->cmd ||
            (name && g_strcmp0(name, recorded[i].name) != 0))
            continue;
        uint8_t *message = unhex(recorded[i].hex, &size);
        if (list && link->interrupted)
            ((struct nlmsghdr *) message)->nlmsg_flags |= NLM_F_DUMP_INTR;
        answer(link, message, size, question->nlmsg_seq);
        found++;
    }
    if (list && link->interrupted)
        link->interrupted--;
    if (list || found) {
        end(link, list ? NLMSG_DONE : NLMSG_ERROR, 0, question->nlmsg_seq);
    } else {
        size_t size;
        uint8_t *message = vdpa_link_absent(&size);
        answer(link, message, size, question->nlmsg_seq);
    }
    return (ssize_t) len;
}

static ssize_t
receive_link(void *ctx, void *buf, size_t size)
{
    struct vdpa_link *link = ctx;
    g_autoptr(GBytes) bytes = g_queue_pop_head(link->queue);

    errno = EAGAIN;
    if (!bytes)
        return -1;
    gsize len;
    const void *data = g_bytes_get_data(bytes, &len);
    cr_assert_leq(len, size);
    if (len)
        memcpy(buf, data, len);
    return (ssize_t) len;
}

static void
close_link(void *ctx)
{
    struct vdpa_link *link = ctx;

    link->opened--;
}

void
vdpa_link_init(struct vdpa_link *link)
{
    *link = (struct vdpa_link){
        .link = {open_link, send_link, receive_link, close_link, link},
        .queue = g_queue_new(),
    };
}

void
vdpa_link_clear(struct vdpa_link *link)
{
    cr_expect_eq(link->opened, 0, "a socket was left open");
    g_queue_free_full(link->queue, (GDestroyNotify) g_bytes_unref);
}
