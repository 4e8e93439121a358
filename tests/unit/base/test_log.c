/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

VDT_SUITE(log);

/* What a process prints on stderr that logs one message of each level and shows up to @level. */
static char *
output_at(enum vdt_log_level level)
{
    int out[2];
    char text[4096] = "";
    size_t have = 0;
    ssize_t n;
    pid_t child;

    cr_assert_eq(pipe(out), 0);
    child = fork();
    if (child == 0) {
        alarm(10);
        dup2(out[1], STDERR_FILENO);
        close(out[0]);
        close(out[1]);
        vdt_log_init(level);
        vdt_log(VDT_LOG_ERROR, "an error, number %d", 1);
        vdt_warning("a warning");
        vdt_info("some information");
        vdt_debug("a detail");
        _exit(0);
    }
    vdt_close(out[1]);
    while (have < sizeof(text) - 1 && (n = read(out[0], text + have, sizeof(text) - 1 - have)) > 0)
        have += (size_t) n;
    vdt_close(out[0]);

    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    return g_strndup(text, have);
}

Test(log, each_level_shows_itself_and_what_is_worse)
{
    const char *const messages[] = {"an error, number 1", "a warning", "some information",
                                    "a detail"};

    for (int level = VDT_LOG_ERROR; level <= VDT_LOG_DEBUG; level++) {
        g_autofree char *text = output_at((enum vdt_log_level) level);

        for (int i = VDT_LOG_ERROR; i <= VDT_LOG_DEBUG; i++)
            cr_expect_eq(strstr(text, messages[i]) != NULL, i <= level, "level %d: %s", level,
                         text);
    }
}
