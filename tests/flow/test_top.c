/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The live view, on a terminal of the test's own and elsewhere. */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include "lib/leak.h"
#include "lib/vm.h"

TestSuite(top, .init = NULL, .fini = vm_clean, .timeout = 60);

#define WAIT_US (20 * G_USEC_PER_SEC)
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"
#define FRAME_END "\033[J"

/* A program on a terminal. */
struct terminal {
    int master, keep; /* @keep: the program's side stays open, so that its modes can be read */
    pid_t pid;
    struct termios before;
    GString *seen;
};

static void
terminal_start(struct terminal *t, unsigned short columns, const char *const *words)
{
    struct winsize size = {.ws_row = 10, .ws_col = columns};

    cr_assert_eq(openpty(&t->master, &t->keep, NULL, NULL, &size), 0);
    cr_assert_eq(tcgetattr(t->keep, &t->before), 0);
    t->seen = g_string_new(NULL);
    vm_runtime_dir();
    t->pid = fork();
    cr_assert_geq(t->pid, 0);
    if (t->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("TERM", "xterm", 1);
        close(t->master);
        if (login_tty(t->keep) == 0)
            execv(VDT_TRACKER_EXE, (char **) words);
        _exit(127);
    }
}

/* Read until what came after @from holds @text; where it begins. */
static size_t
terminal_wait(struct terminal *t, size_t from, const char *text)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;
    struct pollfd p = {.fd = t->master, .events = POLLIN};
    const char *at;

    while (!(at = strstr(t->seen->str + from, text))) {
        char bytes[4096];

        cr_assert_lt(g_get_monotonic_time(), deadline, "no \"%s\" in: %s", text,
                     t->seen->str + from);
        if (poll(&p, 1, 100) != 1)
            continue;
        ssize_t n = read(t->master, bytes, sizeof(bytes));
        cr_assert_gt(n, 0, "the terminal is gone: %s", t->seen->str + from);
        g_string_append_len(t->seen, bytes, n);
    }
    return (size_t) (at - t->seen->str);
}

static bool
same_modes(const struct terminal *t)
{
    struct termios now;

    cr_assert_eq(tcgetattr(t->keep, &now), 0);
    return now.c_iflag == t->before.c_iflag && now.c_oflag == t->before.c_oflag &&
           now.c_cflag == t->before.c_cflag && now.c_lflag == t->before.c_lflag &&
           memcmp(now.c_cc, t->before.c_cc, sizeof(now.c_cc)) == 0;
}

/* The exit code; the terminal has to be as it was. */
static int
terminal_end(struct terminal *t)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;
    int status = 0;

    while (waitpid(t->pid, &status, WNOHANG) == 0) {
        cr_assert_lt(g_get_monotonic_time(), deadline, "top does not end");
        g_usleep(5000);
    }
    terminal_wait(t, 0, LEAVE);
    cr_expect(g_str_has_suffix(t->seen->str, LEAVE), "written after it was left: %s", t->seen->str);
    cr_expect(same_modes(t), "the terminal has other modes than before");
    close(t->master);
    close(t->keep);
    g_string_free(t->seen, TRUE);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static const char *const live[] = {VDT_TRACKER_EXE, "top", "--interval", "0.2", NULL};

/* How it ends, and that the terminal is then as it was. */
static const struct {
    const char *key;
    int signal;
} ends[] = {{"\003", 0}, {"q", 0}, {"\034", 0}, {NULL, SIGTERM}, {NULL, SIGHUP}, {NULL, SIGINT}};

Test(top, terminal_is_given_back_however_it_ends)
{
    struct tracker a;

    tracker_start(&a, "a", "sim:", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        struct terminal t;

        terminal_start(&t, 120, live);
        size_t at = terminal_wait(&t, 0, ENTER);
        at = terminal_wait(&t, at, "a     sim:    idle");
        terminal_wait(&t, at, FRAME_END);
        cr_expect(!same_modes(&t), "keys are not read one by one");
        if (ends[i].key)
            cr_assert_eq(write(t.master, ends[i].key, 1), 1);
        else
            kill(t.pid, ends[i].signal);
        cr_expect_eq(terminal_end(&t), 0, "row %zu", i);
    }
    cr_assert_eq(tracker_end(&a), 0);
}

/* The longest line of the frame that ends at @end. */
static size_t
frame_width(const struct terminal *t, size_t end)
{
    g_autofree char *all = g_strndup(t->seen->str, end);
    const char *home = g_strrstr(all, "\033[H");
    size_t widest = 0;

    cr_assert(home);
    g_auto(GStrv) lines = g_strsplit(home + strlen("\033[H"), "\r\n", -1);
    for (char **line = lines; *line; line++) {
        char *escape = strchr(*line, '\033');

        widest = MAX(widest, escape ? (size_t) (escape - *line) : strlen(*line));
    }
    return widest;
}

Test(top, frame_is_as_wide_as_the_window_which_may_change)
{
    const struct winsize small = {.ws_row = 10, .ws_col = 33};
    /* No turn comes to the rescue. */
    const char *const slow[] = {VDT_TRACKER_EXE, "top", "--interval", "3600", NULL};
    struct tracker a;
    struct terminal t;

    tracker_start(&a, "a", "sim:", NULL);
    terminal_start(&t, 200, slow);
    size_t at = terminal_wait(&t, terminal_wait(&t, 0, "PROBLEM"), FRAME_END);
    cr_expect_gt(frame_width(&t, at), 80);
    cr_assert_eq(ioctl(t.master, TIOCSWINSZ, &small), 0);
    at = terminal_wait(&t, at + 1, FRAME_END);
    cr_expect_eq(frame_width(&t, at), 33);
    kill(t.pid, SIGTERM);
    cr_assert_eq(terminal_end(&t), 0);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(top, stopped_and_continued_it_gives_the_terminal_back_in_between)
{
    struct tracker a;
    struct terminal t;
    int status;

    tracker_start(&a, "a", "sim:", NULL);
    terminal_start(&t, 120, live);
    size_t at = terminal_wait(&t, 0, FRAME_END);
    cr_assert_eq(write(t.master, "\032", 1), 1);
    at = terminal_wait(&t, at, LEAVE);
    cr_assert_eq(waitpid(t.pid, &status, WUNTRACED), t.pid);
    cr_assert(WIFSTOPPED(status));
    cr_expect(same_modes(&t));
    kill(t.pid, SIGCONT);
    at = terminal_wait(&t, at + 1, ENTER);
    at = terminal_wait(&t, at, "a     sim:    idle");
    cr_expect(!same_modes(&t));
    cr_assert_eq(write(t.master, "q", 1), 1);
    cr_assert_eq(waitpid(t.pid, &status, 0), t.pid);
    cr_expect_eq(WEXITSTATUS(status), 0);
    cr_expect(same_modes(&t));
    close(t.master);
    close(t.keep);
    g_string_free(t.seen, TRUE);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(top, elsewhere_it_is_a_table_a_turn_without_escapes)
{
    struct tracker a, b;
    g_autofree char *out = NULL;

    tracker_start(&b, "b", "sim:pairs=2", NULL);
    tracker_start(&a, "a", "sim:", NULL);
    cr_assert_eq(vm_cli(&out, NULL, "top", "--count", "2", "--interval", "0.1", NULL), 0);
    cr_expect_eq(strchr(out, '\033'), NULL, "%s", out);
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    cr_assert_eq(g_strv_length(lines), 9, "%s", out);
    for (unsigned turn = 0; turn < 2; turn++) {
        cr_expect(g_str_has_prefix(lines[turn * 4], "NAME  DEVICE"), "%s", out);
        cr_expect(g_str_has_prefix(lines[turn * 4 + 1], "a     sim:         idle"), "%s", out);
        cr_expect(g_str_has_prefix(lines[turn * 4 + 2], "b     sim:pairs=2  idle"), "%s", out);
        cr_expect_str_eq(lines[turn * 4 + 3], "");
    }
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}

Test(top, json_is_a_line_a_turn_with_the_rates_of_what_the_guest_did)
{
    const char *const always[] = {"--shadow", "always", NULL};
    const char *words[] = {VDT_TRACKER_EXE, "top", "--json", "--count", "3",
                           "--interval",    "1",   NULL};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;
    double chains = 0, out_bytes = 0;
    GPid pid;
    int fd, status;

    tracker_start(&a, "a", "sim:loop", always);
    vm_init(&vm, 0);
    vm_connect(&vm, "a");
    cr_assert(vm_start(&vm, &error), "%s", error ? error->message : "");
    cr_assert(g_spawn_async_with_pipes(NULL, (char **) words, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                                       NULL, &pid, NULL, &fd, NULL, &error));
    FILE *out = fdopen(fd, "r");
    char *line = NULL;
    size_t size = 0;
    for (unsigned turn = 0; turn < 3; turn++) {
        vm_traffic(&vm, 100);
        cr_assert_gt(getline(&line, &size, out), 0);
        g_autoptr(JsonNode) node = json_from_string(line, NULL);
        cr_assert(node, "%s", line);
        JsonArray *all = json_object_get_array_member(json_node_get_object(node), "trackers");
        cr_assert_eq(json_array_get_length(all), 1, "%s", line);
        JsonObject *tracker = json_array_get_object_element(all, 0);
        cr_expect_str_eq(json_object_get_string_member(tracker, "mode"), "shadow");
        chains += json_object_get_double_member(tracker, "chains_per_second");
        out_bytes += json_object_get_double_member(tracker, "bytes_out_per_second");
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(status, 0);
    /* 100 frames each way a turn of about a second, where the first may have come before. */
    cr_expect_gt(chains, 200, "%f", chains);
    cr_expect_lt(chains, 1400, "%f", chains);
    cr_expect_gt(out_bytes, 100 * 60, "%f", out_bytes);
    free(line);
    fclose(out);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(top, words_that_are_off_are_refused)
{
    cr_expect_eq(vm_cli(NULL, NULL, "top", "--count", "-1", NULL), 2);
    cr_expect_eq(vm_cli(NULL, NULL, "top", "--interval", "0", NULL), 2);
    cr_expect_eq(vm_cli(NULL, NULL, "top", "--interval", "nan", NULL), 2);
    cr_expect_eq(vm_cli(NULL, NULL, "top", "web", NULL), 2);
}
