/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/source.h"

#define WORDS_KEPT 400u /* of what the command says, the last */
#define READS_PER_TURN 16u
#define REAP_MS 200 /* a killed process ends, unless the kernel does not let it */

struct vdt_handover {
    struct vdt_handover_options options; /* its strings are the caller's and not used again */
    GPid pid;                            /* 0: none */
    int pidfd, words_fd;                 /* owned */
    GSource *ended, *words, *deadline;
    char said[WORDS_KEPT];
    size_t said_len;
};

/* In the child, between fork and exec. No terminal, so that nothing asks a person; and an end of
 * its own, should we be killed. */
static void
go_alone(gpointer seconds)
{
    setsid();
    signal(SIGPIPE, SIG_DFL);
    alarm(GPOINTER_TO_UINT(seconds));
}

static int
state_file(GBytes *state, GError **error)
{
    size_t len, done = 0;
    const char *bytes = g_bytes_get_data(state, &len);
    VDT_AUTO_FD fd = vdt_memfd("state", len, error);

    while (fd >= 0 && done < len) {
        ssize_t n = pwrite(fd, bytes + done, len - done, (off_t) done);

        if (n > 0) {
            done += (size_t) n;
        } else if (n == 0 || errno != EINTR) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "the state cannot be given to it: %s",
                        g_strerror(n == 0 ? EIO : errno));
            return -1;
        }
    }
    return vdt_steal_fd(&fd);
}

static void
keep_words(struct vdt_handover *self, const char *text, size_t len)
{
    if (len > WORDS_KEPT) {
        text += len - WORDS_KEPT;
        len = WORDS_KEPT;
    }
    size_t stay = MIN(self->said_len, WORDS_KEPT - len);

    memmove(self->said, self->said + self->said_len - stay, stay);
    memcpy(self->said + stay, text, len);
    self->said_len = stay + len;
}

/* False: nothing comes any more. */
static bool
read_words(struct vdt_handover *self)
{
    char text[4096];

    for (unsigned i = 0; i < READS_PER_TURN; i++) {
        ssize_t n = read(self->words_fd, text, sizeof(text));

        if (n > 0)
            keep_words(self, text, (size_t) n);
        else if (n == 0 || errno != EINTR)
            return n < 0 && errno == EAGAIN;
    }
    return true;
}

/* In one line, for a message. The caller's. */
static char *
last_words(const struct vdt_handover *self)
{
    char *text = g_utf8_make_valid(self->said, (gssize) self->said_len);

    for (char *c = text; *c; c++) {
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    }
    return g_strstrip(text);
}

static void
stop_listening(struct vdt_handover *self)
{
    vdt_source_clear(&self->ended);
    vdt_source_clear(&self->words);
    vdt_source_clear(&self->deadline);
}

/* The whole group, as long as the command's own process is not reaped and keeps its number. False:
 * it does not end, or its status is not to be had. */
static bool
end_group(struct vdt_handover *self, int *ret_status)
{
    struct pollfd wait = {.fd = self->pidfd, .events = POLLIN};
    GPid pid = self->pid;

    self->pid = 0;
    if (pid == 0)
        return false;
    kill(-pid, SIGKILL);
    poll(&wait, 1, REAP_MS);
    return waitpid(pid, ret_status, WNOHANG) == pid;
}

/* @why is taken; the last that is done here. */
static void
finish(struct vdt_handover *self, GError *why)
{
    g_autoptr(GError) error = why;

    stop_listening(self);
    self->options.done(self->options.ctx, error);
}

static GError *
judge(struct vdt_handover *self, bool known, int status)
{
    g_autofree char *said = last_words(self);
    g_autofree char *how = !known ? g_strdup("ended, nobody knows how")
                           : WIFEXITED(status)
                               ? g_strdup_printf("ended with exit status %d", WEXITSTATUS(status))
                               : g_strdup_printf("was ended by signal %d", WTERMSIG(status));

    if (known && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    return g_error_new(VDT_ERROR, VDT_ERROR_FAILED, "the command %s%s%s", how,
                       *said ? " and said: " : "", said);
}

static gboolean
on_ended(gint fd, GIOCondition condition, gpointer data)
{
    struct vdt_handover *self = data;
    int status = 0;
    bool known = end_group(self, &status);

    read_words(self);
    finish(self, judge(self, known, status));
    return G_SOURCE_REMOVE;
}

static gboolean
on_words(gint fd, GIOCondition condition, gpointer data)
{
    return read_words(data) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void
on_late(void *ctx)
{
    struct vdt_handover *self = ctx;
    int status;

    read_words(self);
    end_group(self, &status);
    g_autofree char *said = last_words(self);
    finish(self,
           g_error_new(VDT_ERROR, VDT_ERROR_TIMEOUT, "the command did not end within %u s%s%s",
                       (self->options.timeout_ms + 999) / 1000, *said ? ", it had said: " : "",
                       said));
}

static GSource *
listen_to(struct vdt_handover *self, int fd, GUnixFDSourceFunc run)
{
    GSource *source = g_unix_fd_source_new(fd, G_IO_IN);

    g_source_set_callback(source, G_SOURCE_FUNC(run), self, NULL);
    g_source_attach(source, self->options.context);
    return source;
}

static bool
spawn(struct vdt_handover *self, GBytes *state, GError **error)
{
    const struct vdt_handover_options *options = &self->options;
    const char *argv[] = {"/bin/sh", "-c", options->command, NULL};
    unsigned alarm_s = options->timeout_ms / 1000 + 2;
    int words[2];
    VDT_AUTO_FD in = state_file(state, error);

    if (in < 0)
        return false;
    if (pipe2(words, O_CLOEXEC) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "no pipe for what it says: %s",
                    g_strerror(errno));
        return false;
    }
    self->words_fd = words[0];
    VDT_AUTO_FD out = words[1];
    g_auto(GStrv) environment =
        g_environ_setenv(g_get_environ(), "VDPA_TRACKER_NAME", options->name, TRUE);
    return vdt_set_nonblocking(self->words_fd, error) &&
           g_spawn_async_with_fds("/", (char **) argv, environment, G_SPAWN_DO_NOT_REAP_CHILD,
                                  go_alone, GUINT_TO_POINTER(alarm_s), &self->pid, in, out, out,
                                  error);
}

struct vdt_handover *
vdt_handover_new(const struct vdt_handover_options *options, GBytes *state, GError **error)
{
    VDT_AUTO(handover) self = g_new0(struct vdt_handover, 1);

    self->options = *options;
    self->pidfd = self->words_fd = -1;
    if (!spawn(self, state, error))
        return NULL;
    self->pidfd = pidfd_open(self->pid, 0);
    if (self->pidfd < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "the command cannot be waited for: %s",
                    g_strerror(errno));
        return NULL;
    }
    self->ended = listen_to(self, self->pidfd, on_ended);
    self->words = listen_to(self, self->words_fd, on_words);
    self->deadline = vdt_clock_source_new(options->context, on_late, self);
    g_source_set_ready_time(self->deadline, g_get_monotonic_time() + options->timeout_ms * 1000LL);
    self->options.command = self->options.name = NULL;
    return g_steal_pointer(&self);
}

void
vdt_handover_free(struct vdt_handover *self)
{
    int status;

    if (!self)
        return;
    stop_listening(self);
    end_group(self, &status);
    vdt_close(self->pidfd);
    vdt_close(self->words_fd);
    g_free(self);
}
