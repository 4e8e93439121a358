/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The list of trackers. Devices of this host, if it has any, are listed beside them. */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/leak.h"
#include "lib/vm.h"

TestSuite(list, .init = NULL, .fini = vm_clean, .timeout = 60);

static JsonObject *
tracker_of(JsonNode *list, const char *name)
{
    JsonArray *trackers = json_object_get_array_member(json_node_get_object(list), "trackers");

    for (guint i = 0; i < json_array_get_length(trackers); i++) {
        JsonObject *tracker = json_array_get_object_element(trackers, i);
        if (g_str_equal(json_object_get_string_member(tracker, "name"), name))
            return tracker;
    }
    return NULL;
}

Test(list, every_tracker_is_there_with_its_device)
{
    struct tracker a, b;
    g_autofree char *out = NULL;

    tracker_start(&b, "b", "sim:pairs=4", NULL);
    tracker_start(&a, "a", "sim:no-cvq,no-packed,mac=52:54:00:0a:0b:0c", NULL);
    cr_assert_eq(vm_cli(&out, NULL, "list", NULL), 0);
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    cr_assert_geq(g_strv_length(lines), 3, "%s", out);
    cr_expect(g_regex_match_simple("^NODE +NAME +DRIVER +MGMT +MAC +PAIRS +RINGS +FEATURES +OWNER$",
                                   lines[0], 0, 0),
              "%s", out);
    cr_expect(g_regex_match_simple("^sim:no-cvq\\S* +- +sim +- +52:54:00:0a:0b:0c +1 +2x\\d+ "
                                   "+mrg,tso\\S* +a$",
                                   out, G_REGEX_MULTILINE, 0),
              "%s", out);
    cr_expect(g_regex_match_simple("^sim:pairs=4 +- +sim .* 4 +9x\\d+ +cvq,rx,mac,vlan,mq\\S* +b$",
                                   out, G_REGEX_MULTILINE, 0),
              "%s", out);
    g_autoptr(JsonNode) list = vm_cli_json("list", NULL);
    JsonObject *of_b = tracker_of(list, "b");
    cr_assert(of_b);
    cr_expect_str_eq(json_object_get_string_member(of_b, "device"), "sim:pairs=4");
    cr_expect_str_eq(json_object_get_string_member(of_b, "phase"), "idle");
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}

Test(list, tracker_that_does_not_answer_is_named_and_waited_for_a_second)
{
    struct tracker a, b;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;

    tracker_start(&a, "a", "sim:", NULL);
    tracker_start(&b, "b", "sim:", NULL);
    kill(b.pid, SIGSTOP);
    int64_t start = g_get_monotonic_time();
    int code = vm_cli(&out, &err, "list", NULL);
    int64_t took = g_get_monotonic_time() - start;
    kill(b.pid, SIGCONT);
    cr_assert_eq(code, 0);
    cr_expect(g_regex_match_simple("^sim: .* a$", out, G_REGEX_MULTILINE, 0), "%s", out);
    cr_expect(g_regex_match_simple("^- .* b$", out, G_REGEX_MULTILINE, 0), "%s", out);
    cr_expect(strstr(err, "tracker b: it does not answer"), "%s", err);
    cr_expect_lt(took, 10 * G_USEC_PER_SEC);
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}

/* What a tracker leaves that was killed, and what is none. */
Test(list, sockets_without_a_tracker_are_left_out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autofree char *dead = g_build_filename(vm_runtime_dir(), "dead.ctl", NULL);
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "file.ctl", NULL);
    g_autofree char *wild = g_build_filename(vm_runtime_dir(), "-wild name.ctl", NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, dead, sizeof address.sun_path);
    cr_assert_eq(bind(fd, (struct sockaddr *) &address, sizeof address), 0);
    close(fd);
    g_file_set_contents(file, "", 0, NULL);
    g_file_set_contents(wild, "", 0, NULL);
    g_autoptr(JsonNode) list = vm_cli_json("list", NULL);
    JsonArray *trackers = json_object_get_array_member(json_node_get_object(list), "trackers");
    cr_expect_eq(json_array_get_length(trackers), 0);
}

Test(list, what_was_not_read_is_said_and_is_no_failure)
{
    g_autofree char *err = NULL;

    g_setenv("VDPA_TRACKER_RUNTIME_DIR", "/dev/null", TRUE);
    const char *words[] = {VDT_TRACKER_EXE, "list", NULL};
    int status;
    cr_assert(g_spawn_sync(NULL, (char **) words, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                           NULL, &err, &status, NULL));
    cr_expect_eq(status, 0);
    cr_expect(strstr(err, "not read: trackers: "), "%s", err);
}
