/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/vdpa-tracker/screen.h"
#include "tools/vdpa-tracker/top.h"
#include "tools/vdpa-tracker/tracker_list.h"
#include "tools/vdpa-tracker/verb.h"

#include "base/fd.h"

#define WAIT_MS 1000u
#define INTERVAL_MAX 86400.0

struct show {
    GMainLoop *loop;
    struct vdt_top *top;
    struct vdt_screen screen;
    bool whole; /* the terminal is ours */
    bool json;
    int left; /* turns to go, 0: no end */
    bool first;
    GError *error; /* owned */
    char *text;    /* owned: the last table, for another window size */
};

static void
end(struct show *show, GError *error)
{
    if (error && !show->error)
        show->error = error;
    g_main_loop_quit(show->loop);
}

static void
draw(struct show *show)
{
    if (show->whole && show->text && !vdt_screen_show(&show->screen, show->text))
        end(show, g_error_new(VDT_ERROR, VDT_ERROR_FAILED, "cannot write to the terminal: %s",
                              g_strerror(errno)));
}

static void
print_turn(struct show *show)
{
    if (show->json) {
        JsonNode *node = vdt_top_json(show->top, g_get_real_time());
        g_autofree char *line = json_to_string(node, FALSE);

        puts(line);
        json_node_unref(node);
    } else {
        g_autofree char *text = vdt_top_text(show->top);
        printf("%s\n", text);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        end(show, NULL); /* main() says so */
}

/* Where nothing is drawn over, the first look alone would be a table without rates. */
static gboolean
on_turn(gpointer data)
{
    struct show *show = data;
    GError *error = NULL;
    g_autoptr(GPtrArray) trackers = vdt_tracker_list(NULL, WAIT_MS, &error);

    if (!trackers) {
        end(show, error);
        return G_SOURCE_REMOVE;
    }
    vdt_top_take(show->top, trackers);
    if (show->whole) {
        g_free(show->text);
        show->text = vdt_top_text(show->top);
        draw(show);
    } else if (!show->first) {
        print_turn(show);
    }
    if (!show->first && show->left > 0 && --show->left == 0)
        end(show, NULL);
    show->first = false;
    return G_SOURCE_CONTINUE;
}

static void
enter(struct show *show)
{
    if (show->whole && !vdt_screen_enter(&show->screen, STDIN_FILENO, STDOUT_FILENO))
        end(show, g_error_new(VDT_ERROR, VDT_ERROR_FAILED, "cannot write to the terminal: %s",
                              g_strerror(errno)));
}

static gboolean
on_signal(int fd, GIOCondition condition, gpointer data)
{
    struct show *show = data;
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) != (ssize_t) sizeof(info))
        return G_SOURCE_CONTINUE;
    switch (info.ssi_signo) {
    case SIGWINCH:
        draw(show);
        break;
    case SIGTSTP:
        vdt_screen_leave(&show->screen);
        kill(getpid(), SIGSTOP);
        enter(show);
        draw(show);
        break;
    default:
        end(show, NULL);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean
on_key(int fd, GIOCondition condition, gpointer data)
{
    char key;

    if (read(fd, &key, 1) != 1)
        return G_SOURCE_REMOVE;
    if (key == 'q' || key == 'Q')
        end(data, NULL);
    return G_SOURCE_CONTINUE;
}

static int
run(struct show *show, guint interval_ms)
{
    GError *error = NULL;
    sigset_t signals, before;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGQUIT);
    if (show->whole) {
        sigaddset(&signals, SIGWINCH);
        sigaddset(&signals, SIGTSTP);
    }
    /* Before there are threads: they have what we have. */
    sigprocmask(SIG_BLOCK, &signals, &before);
    VDT_AUTO_FD fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        g_set_error(&error, VDT_ERROR, VDT_ERROR_FAILED, "signalfd: %s", g_strerror(errno));
        return vdt_verb_fail(show->json, error);
    }
    show->loop = g_main_loop_new(NULL, FALSE);
    show->top = vdt_top_new();
    show->first = true;
    guint on_fd = g_unix_fd_add(fd, G_IO_IN, on_signal, show);
    enter(show);
    guint keys = show->screen.has_modes ? g_unix_fd_add(STDIN_FILENO, G_IO_IN, on_key, show) : 0;
    if (!show->error && on_turn(show)) {
        guint timer = g_timeout_add(interval_ms, on_turn, show);
        g_main_loop_run(show->loop);
        GSource *source = g_main_context_find_source_by_id(NULL, timer);
        if (source)
            g_source_destroy(source);
    }
    GSource *source = keys ? g_main_context_find_source_by_id(NULL, keys) : NULL;
    if (source)
        g_source_destroy(source);
    g_source_remove(on_fd);
    vdt_screen_leave(&show->screen);
    g_main_loop_unref(show->loop);
    vdt_top_free(show->top);
    g_free(show->text);
    return show->error ? vdt_verb_fail(show->json, show->error) : VDT_EXIT_DONE;
}

int
vdt_verb_top(const struct vdt_verb *verb, int argc, char **argv)
{
    struct show show = {0};
    gboolean json = FALSE;
    double interval = 1;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "One JSON object a turn", NULL},
        {"count", 'c', 0, G_OPTION_ARG_INT, &show.left, "End after so many turns", "N"},
        {"interval", 'i', 0, G_OPTION_ARG_DOUBLE, &interval, "Seconds from turn to turn", "S"},
        {NULL},
    };
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
    if (show.left < 0)
        return vdt_verb_misused(json, "--count: 1 or more is possible");
    if (!(interval >= 0.1 && interval <= INTERVAL_MAX))
        return vdt_verb_misused(json, "--interval: 0.1 to 86400 seconds are possible");
    show.json = json;
    show.whole = !json && vdt_screen_usable(STDOUT_FILENO);
    return run(&show, (guint) (interval * 1000));
}
