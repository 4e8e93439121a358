/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The test for others, as their CI runs it: exit code, and a file that CI systems read. */
#include "lib/leak.h"

#include <glib/gstdio.h>
#include <libxml/parser.h>
#include <libxml/xmlschemas.h>
#include <libxml/xmlschemastypes.h>
#include <libxml/xpath.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define SHORT " --duration 0.1 --rounds 2 --memory 16"
#define FOUR "--source sim:pairs=4,ooo,latency=300 --destination sim:pairs=4,mac=52:54:00:00:00:02"

static char *dir, *path; /* of this test: temporary files, and the results in there */
static xmlDoc *doc;

static void
set_up(void)
{
    dir = g_dir_make_tmp("ci-migrate-XXXXXX", NULL);
    cr_assert(dir);
    path = g_build_filename(dir, "results.xml", NULL);
    g_setenv("TMPDIR", dir, TRUE);
}

static void
tear_down(void)
{
    g_unlink(path);
    g_rmdir(dir);
    g_clear_pointer(&doc, xmlFreeDoc);
    xmlCleanupParser();
    g_clear_pointer(&path, g_free);
    g_clear_pointer(&dir, g_free);
    vdt_test_check_leaks();
}

TestSuite(ci_migrate, .init = set_up, .fini = tear_down, .timeout = 120);

static GPid
spawn(const char *words)
{
    g_autofree char *line =
        g_strdup_printf("%s ci-migrate --junit %s %s", VDT_TRACKER_EXE, path, words);
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) error = NULL;
    GPid pid;

    cr_assert(g_shell_parse_argv(line, NULL, &argv, &error));
    cr_assert(g_spawn_async(NULL, argv, NULL,
                            G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                                G_SPAWN_STDERR_TO_DEV_NULL,
                            NULL, NULL, &pid, &error),
              "%s", error ? error->message : "");
    return pid;
}

static int
ended(GPid pid)
{
    int status = 0;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static double
number(const char *xpath)
{
    xmlXPathContext *context = xmlXPathNewContext(doc);
    g_autofree char *expression = g_strdup_printf("number(%s)", xpath);
    xmlXPathObject *object = xmlXPathEval(BAD_CAST expression, context);
    double value = object ? object->floatval : -1;

    xmlXPathFreeObject(object);
    xmlXPathFreeContext(context);
    return value;
}

static char *
text(const char *xpath)
{
    xmlXPathContext *context = xmlXPathNewContext(doc);
    g_autofree char *expression = g_strdup_printf("string(%s)", xpath);
    xmlXPathObject *object = xmlXPathEval(BAD_CAST expression, context);
    char *value = g_strdup(object ? (const char *) object->stringval : "");

    xmlXPathFreeObject(object);
    xmlXPathFreeContext(context);
    return value;
}

static void
valid(void)
{
    xmlSchemaParserCtxt *parser = xmlSchemaNewParserCtxt(VDT_JUNIT_XSD);
    xmlSchema *schema = xmlSchemaParse(parser);
    cr_assert(schema);
    xmlSchemaValidCtxt *context = xmlSchemaNewValidCtxt(schema);

    cr_expect_eq(xmlSchemaValidateDoc(context, doc), 0, "%s is no JUnit file", path);
    xmlSchemaFreeValidCtxt(context);
    xmlSchemaFree(schema);
    xmlSchemaFreeParserCtxt(parser);
    xmlSchemaCleanupTypes();
}

/* The file is valid and its sums are those of its cases. */
static void
load(void)
{
    static const char *const sums[][2] = {
        {"//testsuite/@tests", "count(//testcase)"}, {"//testsuite/@failures", "count(//failure)"},
        {"//testsuite/@errors", "count(//error)"},   {"//testsuite/@skipped", "count(//skipped)"},
        {"/testsuites/@tests", "count(//testcase)"}, {"/testsuites/@failures", "count(//failure)"},
    };

    g_clear_pointer(&doc, xmlFreeDoc);
    doc = xmlReadFile(path, NULL, XML_PARSE_NONET);
    cr_assert(doc, "%s is no XML", path);
    valid();
    for (unsigned i = 0; i < G_N_ELEMENTS(sums); i++)
        cr_expect_eq(number(sums[i][0]), number(sums[i][1]), "%s", sums[i][0]);
    cr_assert_gt(number("count(//testcase)"), 20);
}

/* What the verb had made for itself is gone with it. */
static void
only_results_left(void)
{
    g_autoptr(GDir) open = g_dir_open(dir, 0, NULL);
    const char *name;

    while (open && (name = g_dir_read_name(open)))
        cr_expect_str_eq(name, "results.xml");
}

static int
run(const char *words)
{
    int code = ended(spawn(words));

    load();
    only_results_left();
    return code;
}

/* The one failure is of case @name, and says @why. */
static void
failed_alone(const char *name, const char *why)
{
    g_autofree char *first = text("//testcase[failure]/@name");
    g_autofree char *said = text("//failure");

    cr_expect_eq(number("count(//failure)"), 1);
    cr_expect_str_eq(first, name);
    cr_expect(strstr(said, why), "%s", said);
}

static void
all_passed(const char *words)
{
    int code = run(words);
    g_autofree char *name = text("//testcase[(failure or skipped or error) and @name != "
                                 "'it sets: announce']/@name");
    g_autofree char *why = text("//testcase/failure | //testcase/skipped/@message");

    cr_expect_eq(code, 0);
    cr_expect_str_eq(name, "", "%s: %s", name, why);
    cr_expect_eq(number("count(//testcase[contains(@classname, '.there')])"),
                 number("count(//testcase[contains(@classname, '.back')])"));
    cr_expect_geq(number("count(//testcase[contains(@classname, '.back')])"), 13);
}

Test(ci_migrate, split_rings_there_and_back)
{
    all_passed(FOUR SHORT);
    cr_expect_gt(number("//property[@name = 'downtime_us.there.1']/@value"), 0);
    cr_expect_gt(number("//property[@name = 'downtime_us.back.1']/@value"), 0);
}

Test(ci_migrate, packed_rings_twice_in_time)
{
    all_passed(FOUR SHORT " --rings packed --repeat 2 --max-downtime 60000");
    cr_expect_gt(number("//property[@name = 'downtime_us.back.2']/@value"), 0);
}

Test(ci_migrate, what_is_not_offered_is_skipped)
{
    cr_expect_eq(run("--source sim:-CTRL_VLAN,no-rss --destination sim:-CTRL_VLAN,no-rss" SHORT),
                 0);
    cr_expect_eq(number("count(//testcase[@name = 'it sets: vlan']/skipped)"), 1);
    cr_expect_eq(number("count(//testcase[@name = 'it sets: rss']/skipped)"), 1);
    cr_expect_eq(number("count(//testcase[@name = 'it sets: mac address']/skipped)"), 0);
}

/* No control queue, so nothing to set; the tracker announces the guest in its place. */
Test(ci_migrate, a_device_without_commands)
{
    cr_expect_eq(run("--source sim:no-cvq --destination sim:no-cvq" SHORT), 0);
    cr_expect_eq(number("count(//testcase[starts-with(@name, 'it sets:')]/skipped)"), 14);
    cr_expect_eq(number("count(//skipped)"), 14);
}

#define NO_WIRE "--source sim:null,pairs=2 --destination sim:null,pairs=2" SHORT

/* Nothing that would need received frames is called good. */
Test(ci_migrate, without_a_way_back_for_frames_checks_are_skipped)
{
    cr_expect_eq(run(NO_WIRE), 0);
    cr_expect_eq(number("count(//skipped)"), 8);
    cr_expect_eq(number("count(//testcase[@name = 'its frames come back']/skipped)"), 1);
    cr_expect_eq(number("count(//testcase[@name = 'no receive buffer is lost']/skipped)"), 2);
    cr_expect_eq(number("count(//testcase[@name = 'frames come in whole']/skipped)"), 2);
    g_autofree char *why = text("//testcase[@name = 'its frames come back']/skipped/@message");
    cr_expect(strstr(why, "--reflects"), "%s", why);
}

Test(ci_migrate, a_way_back_for_frames_can_be_demanded)
{
    cr_expect_eq(run(NO_WIRE " --reflects"), 1);
    failed_alone("its frames come back", "0 of ");
}

Test(ci_migrate, a_destination_that_forgets_a_vlan)
{
    cr_expect_eq(run("--source sim: --destination sim:forget-class=2.0" SHORT), 1);
    failed_alone("the other device takes the state", "vlan filter: set in A, unset in B");
    g_autofree char *later = text("//testcase[@name = 'the guest goes on there']/skipped/@message");
    cr_expect_str_eq(later, "not reached: \"the other device takes the state\" failed");
    cr_expect_eq(number("count(//testcase[contains(@classname, '.end') and not(skipped)])"), 3);
}

Test(ci_migrate, a_destination_that_refuses_a_command)
{
    cr_expect_eq(run("--source sim: --destination sim:nak-class=2.0" SHORT), 1);
    failed_alone("the other device takes the state", "VLAN_ADD");
}

Test(ci_migrate, a_source_that_refuses_a_command)
{
    cr_expect_eq(run("--source sim:nak-class=2.0 --destination sim:" SHORT), 1);
    cr_expect_eq(number("count(//testcase[@name = 'it sets: vlan']/failure)"), 1);
    cr_expect_eq(number("count(//testcase[@name = 'it sets: mac address']/failure)"), 0);
}

/* It keeps some of what it is given to send for ever. */
Test(ci_migrate, a_destination_that_loses_frames)
{
    cr_expect_eq(run("--source sim: --destination sim:hold=3" SHORT), 1);
    cr_expect_eq(
        number("count(//testcase[@name = 'no frame to send and no command is lost']/failure)"), 1);
    g_autofree char *said = text("//failure[contains(., 'missing')]");
    cr_expect(strstr(said, "missing: 3 to send"), "%s", said);
}

Test(ci_migrate, a_destination_that_uses_chains_twice)
{
    cr_expect_eq(run("--source sim: --destination sim:used-twice" SHORT), 1);
    cr_expect_geq(number("count(//testcase[contains(@classname, '.there')]/failure)"), 1);
}

Test(ci_migrate, a_smaller_destination)
{
    cr_expect_eq(run("--source sim:pairs=4 --destination sim:pairs=2" SHORT), 1);
    failed_alone("the destination can take what a guest of the source may use",
                 "device offers 2 queue pairs, the state needs 4");
}

Test(ci_migrate, what_both_have_fits_a_smaller_destination)
{
    all_passed("--source sim:pairs=4 --destination sim:pairs=2 --common" SHORT);
}

Test(ci_migrate, fewer_pairs_than_there_are)
{
    all_passed("--source sim:pairs=4 --destination sim:pairs=2 --pairs 2" SHORT);
    g_autofree char *said = text("//testcase[@name = 'the guest starts']/system-out");
    cr_expect(g_str_has_prefix(said, "2 queue pairs"), "%s", said);
}

Test(ci_migrate, more_pairs_than_there_are)
{
    cr_expect_eq(run("--source sim:pairs=2 --destination sim:pairs=2 --pairs 4" SHORT), 1);
    failed_alone("both have 4 queue pairs", "the source sim:pairs=2 has 2 queue pairs");
}

Test(ci_migrate, a_device_that_is_not_there)
{
    cr_expect_eq(run("--source vhost-vdpa:/dev/vhost-vdpa-4095 --destination sim:"), 1);
    failed_alone("the source opens", "/dev/vhost-vdpa-4095");
    cr_expect_eq(number("count(//skipped)"), number("count(//testcase)") - 1);
}

/* Words and messages of others: what XML cannot have does not get there. */
Test(ci_migrate, hostile_words_do_not_spoil_the_file)
{
    cr_expect_eq(run("--source sim: --destination 'sim:\x01\xef\xbf\xbf]]><&\"'"), 1);
    failed_alone("the destination opens", "]]><&\"");
}

Test(ci_migrate, too_long_a_downtime_fails)
{
    cr_expect_eq(run("--source sim: --destination sim: --max-downtime 0" SHORT), 1);
    cr_expect_eq(number("count(//failure)"), 2);
    cr_expect_eq(number("count(//testcase[@name = 'the downtime is at most 0 ms']/failure)"), 2);
}

/* Devices' trackers of that test. */
static bool
trackers_run(void)
{
    g_autofree char *line = g_strdup_printf("grep -alE '%s' /proc/[0-9]*/environ", dir);
    g_autofree char *out = NULL;
    g_auto(GStrv) argv = g_strsplit("sh -c", " ", 2);
    const char *words[] = {argv[0], argv[1], line, NULL};

    cr_assert(g_spawn_sync(NULL, (char **) words, NULL,
                           G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL,
                           NULL, NULL));
    /* The test's own shell and grep have the variable as well. */
    for (const char *at = out; (at = strstr(at, "/environ")); at++) {
        g_autofree char *from = g_strndup(out, (gsize) (at - out));
        const char *pid = strrchr(from, '/') + 1;
        g_autofree char *file = g_strdup_printf("/proc/%s/cmdline", pid);
        g_autofree char *command = NULL;
        gsize len;

        if (g_file_get_contents(file, &command, &len, NULL) && len > 20 &&
            memmem(command, len, "--shadow", 8))
            return true;
    }
    return false;
}

Test(ci_migrate, time_that_runs_out_is_a_failure_in_the_file)
{
    int64_t start = g_get_monotonic_time();

    cr_expect_eq(run("--source sim: --destination sim: --duration 3000 --timeout 2"), 1);
    cr_expect_lt(g_get_monotonic_time() - start, 12 * G_USEC_PER_SEC);
    failed_alone("memory is copied in rounds while the guest works", "longer than 2 s");
    g_autofree char *later = text("//testcase[last()]/skipped/@message");
    cr_expect(g_str_has_prefix(later, "not reached: "), "%s", later);
    cr_expect_not(trackers_run());
}

/* Until the file says that @name runs. */
static void
wait_for_case(const char *name)
{
    g_autofree char *xpath = g_strdup_printf("count(//testcase[@name = '%s']/error)", name);

    for (unsigned i = 0; i < 1000; i++) {
        g_clear_pointer(&doc, xmlFreeDoc);
        doc = g_file_test(path, G_FILE_TEST_EXISTS) ? xmlReadFile(path, NULL, 0) : NULL;
        if (doc && number(xpath) == 1)
            return;
        g_usleep(20000);
    }
    cr_assert_fail("\"%s\" does not begin", name);
}

Test(ci_migrate, a_signal_ends_it_with_a_file)
{
    GPid pid = spawn("--source sim: --destination sim: --duration 3000");

    wait_for_case("memory is copied in rounds while the guest works");
    cr_expect(trackers_run());
    kill(pid, SIGTERM);
    cr_expect_eq(ended(pid), 1);
    load();
    failed_alone("memory is copied in rounds while the guest works", "ended by a signal");
    only_results_left();
    cr_expect_not(trackers_run());
}

/* What it knew until then is there, and nothing in it looks as if it had passed. */
Test(ci_migrate, killed_it_leaves_a_file)
{
    GPid pid = spawn("--source sim: --destination sim: --duration 3000 --keep");

    wait_for_case("memory is copied in rounds while the guest works");
    kill(pid, SIGKILL);
    cr_expect_eq(ended(pid), -SIGKILL);
    load();
    cr_expect_eq(number("count(//error)"), 1);
    cr_expect_eq(number("count(//testcase[contains(@classname, '.back') and not(skipped)])"), 0);
    for (unsigned i = 0; i < 250 && trackers_run(); i++)
        g_usleep(20000);
    cr_expect_not(trackers_run());
    g_autofree char *line = g_strdup_printf("rm -rf %s/vdpa-tracker-ci-*", dir);
    const char *words[] = {"sh", "-c", line, NULL};
    cr_assert(g_spawn_sync(NULL, (char **) words, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                           NULL, NULL));
}

Test(ci_migrate, wrong_words_are_no_test)
{
    static const char *const words[] = {
        "--source sim:",
        "--source sim: --destination sim: --rings round",
        "--source sim: --destination sim: --guest dog",
        "--source sim: --destination sim: --timeout 0",
        "--source sim: --destination sim: --max-downtime -5",
        "--source sim: --destination sim: --junit /dev/null",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        cr_expect_eq(ended(spawn(words[i])), 2, "%s", words[i]);
    cr_expect_not(g_file_test(path, G_FILE_TEST_EXISTS));
    cr_expect_eq(ended(spawn("--source sim: --destination sim: --junit /nonexistent/a.xml")), 1);
}
