/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/qmp.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "tools/vdpa-tracker/status_look.h"

struct vdt_qmp {
    struct vdt_qmp_hooks hooks;
    int fd;
    guint source; /* 0: ended */
    bool ready;
    GString *text; /* owned: what came and is no whole line yet */
};

static void
end(struct vdt_qmp *qmp, const char *why)
{
    g_autoptr(GError) reason = g_error_new(VDT_ERROR, VDT_ERROR_FAILED, "QEMU's monitor: %s", why);

    if (!qmp->source)
        return;
    g_clear_handle_id(&qmp->source, g_source_remove);
    qmp->hooks.ended(qmp->hooks.ctx, reason);
}

static void
take_answer(struct vdt_qmp *qmp, JsonNode *answer, const char *refusal)
{
    g_autoptr(GError) error = NULL;

    if (refusal)
        error = g_error_new(VDT_ERROR, VDT_ERROR_FAILED, "QEMU: %s", refusal);
    if (qmp->ready) {
        qmp->hooks.answer(qmp->hooks.ctx, answer, error);
    } else if (error) {
        end(qmp, refusal);
    } else {
        qmp->ready = true;
        qmp->hooks.ready(qmp->hooks.ctx);
    }
}

static void
take_line(struct vdt_qmp *qmp, const char *line)
{
    g_autoptr(JsonNode) node = json_from_string(line, NULL);
    const char *event = vdt_look_text(node, "event");

    if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
        end(qmp, "a line is no JSON object");
    } else if (vdt_look(node, "QMP")) {
        vdt_qmp_ask(qmp, "qmp_capabilities");
    } else if (event) {
        qmp->hooks.event(qmp->hooks.ctx, event, vdt_look(node, "data"));
    } else if (vdt_look(node, "error")) {
        const char *why = vdt_look_text(node, "error.desc");
        take_answer(qmp, NULL, why ? why : "an error without a description");
    } else if (vdt_look(node, "return")) {
        take_answer(qmp, vdt_look(node, "return"), NULL);
    }
}

static gboolean
on_input(int fd, GIOCondition condition, gpointer data)
{
    struct vdt_qmp *qmp = data;
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof(bytes));
    char *line_end;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    if (n <= 0) {
        end(qmp, n == 0 ? "the connection was ended" : g_strerror(errno));
        return G_SOURCE_REMOVE;
    }
    g_string_append_len(qmp->text, bytes, n);
    while (qmp->source && (line_end = memchr(qmp->text->str, '\n', qmp->text->len))) {
        g_autofree char *line = g_strndup(qmp->text->str, (size_t) (line_end - qmp->text->str));

        g_string_erase(qmp->text, 0, (gssize) (line_end - qmp->text->str) + 1);
        take_line(qmp, line);
    }
    if (qmp->source && qmp->text->len > VDT_QMP_LINE_MAX)
        end(qmp, "a line is too long");
    return qmp->source ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

struct vdt_qmp *
vdt_qmp_new(const char *path, const struct vdt_qmp_hooks *hooks, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval wait = {.tv_sec = 1};
    VDT_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) >= sizeof(address.sun_path)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "socket path %s is too long", path);
        return NULL;
    }
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0 ||
        connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "QEMU's monitor at %s: %s", path,
                    g_strerror(errno));
        return NULL;
    }
    struct vdt_qmp *qmp = g_new0(struct vdt_qmp, 1);
    qmp->hooks = *hooks;
    qmp->text = g_string_new(NULL);
    qmp->fd = fd;
    fd = -1;
    qmp->source = g_unix_fd_add(qmp->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input, qmp);
    return qmp;
}

void
vdt_qmp_free(struct vdt_qmp *qmp)
{
    if (!qmp)
        return;
    g_clear_handle_id(&qmp->source, g_source_remove);
    vdt_close(qmp->fd);
    g_string_free(qmp->text, TRUE);
    g_free(qmp);
}

/* One that cannot be written is told by the input, which ends. */
void
vdt_qmp_ask(struct vdt_qmp *qmp, const char *command)
{
    g_autofree char *line = g_strdup_printf("{\"execute\":\"%s\"}\n", command);
    size_t len = strlen(line);

    if (send(qmp->fd, line, len, MSG_NOSIGNAL) != (ssize_t) len)
        shutdown(qmp->fd, SHUT_RDWR);
}
