/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt's hook does with trackers, called as libvirt calls it. */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/leak.h"
#include "lib/vm.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define MAC_A "52:54:00:aa:00:01"
#define MAC_B "52:54:00:aa:00:02"

static char *domain_xml;

static void
clean(void)
{
    g_clear_pointer(&domain_xml, g_free);
    vm_clean();
}

TestSuite(hook, .init = NULL, .fini = clean, .timeout = 120);

static void
write_config(const char *text)
{
    g_autofree char *path = g_build_filename(vm_runtime_dir(), "devices.conf", NULL);

    cr_assert(g_file_set_contents(path, text, -1, NULL));
}

/* "hook web OPERATION begin -" with domain_xml; its exit code. */
static int
hook(const char *operation, char **ret_out, char **ret_err)
{
    g_autofree char *config = g_build_filename(vm_runtime_dir(), "devices.conf", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    g_autoptr(GSubprocess) process =
        g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                             G_SUBPROCESS_FLAGS_STDERR_PIPE,
                         &error, VDT_TRACKER_EXE, "hook", "--config", config, "--", "web",
                         operation, "begin", "-", NULL);

    cr_assert(process, "%s", error ? error->message : "");
    cr_assert(g_subprocess_communicate_utf8(process, domain_xml, NULL, &out, &err, &error), "%s",
              error ? error->message : "");
    if (ret_out)
        *ret_out = g_steal_pointer(&out);
    if (ret_err)
        *ret_err = g_steal_pointer(&err);
    return g_subprocess_get_exit_status(process);
}

static char *
interface(const char *mac, const char *name)
{
    return g_strdup_printf("<interface type='vhostuser'><mac address='%s'/><source type='unix' "
                           "path='%s/%s.sock' mode='client'><reconnect enabled='yes'/></source>"
                           "</interface>",
                           mac, vm_runtime_dir(), name);
}

/* A domain with NIC a on vdpa:blue, and what else there is. */
static void
describe(const char *more_metadata, const char *more_devices)
{
    g_autofree char *a = interface(MAC_A, "a");

    g_free(domain_xml);
    domain_xml = g_strdup_printf(
        "<domain type='kvm'><name>web</name><uuid>" UUID "</uuid><metadata>"
        "<vt:tracker xmlns:vt='urn:vdpa-tracker:libvirt:1'><vt:nic mac='" MAC_A
        "' device='vdpa:blue' format='1'/>%s</vt:tracker></metadata>"
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
        "<devices>%s%s</devices></domain>",
        more_metadata, a, more_devices);
}

static bool
is_up(const char *name)
{
    return vm_cli(NULL, NULL, "status", name, NULL) == 0;
}

static bool
is_there(const char *file)
{
    g_autofree char *path = g_build_filename(vm_runtime_dir(), file, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

#define CONFIG "[host]\nstart-with = fork\nsocket-mode = 0666\n[vdpa:blue]\ndevice = sim:pairs=2\n"

Test(hook, trackers_come_with_their_domain_and_go_with_it)
{
    g_autofree char *err = NULL;
    g_autofree char *path = g_build_filename(vm_runtime_dir(), "a.sock", NULL);
    struct stat st;

    write_config(CONFIG);
    describe("", "");
    cr_assert_eq(hook("prepare", NULL, &err), 0, "%s", err);
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonObject *device = json_object_get_object_member(json_node_get_object(status), "device");
    cr_expect_str_eq(json_object_get_string_member(device, "name"), "sim:pairs=2");
    cr_expect_str_eq(json_object_get_string_member(json_node_get_object(status), "mac"), MAC_A);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0666);
    cr_expect_eq(hook("start", NULL, NULL), 0);
    cr_expect_eq(hook("started", NULL, NULL), 0);
    /* Once more: what is up stays up. */
    cr_expect_eq(hook("prepare", NULL, NULL), 0);
    cr_expect(is_up("a"));
    cr_expect_eq(hook("stopped", NULL, NULL), 0);
    cr_expect(is_up("a"));
    cr_expect_eq(hook("release", NULL, NULL), 0);
    cr_expect_not(is_up("a"));
    cr_expect_not(is_there("a.sock") || is_there("a.log") || is_there("a.baseline"));
    cr_expect_eq(hook("release", NULL, NULL), 0, "again");
}

/* libvirt stalls until the last holder of the hook's stderr is gone. */
Test(hook, nothing_of_the_hook_is_inherited)
{
    write_config(CONFIG);
    describe("", "");
    int64_t start = g_get_monotonic_time();
    /* communicate() returns when both pipes are at their end. */
    cr_assert_eq(hook("prepare", NULL, NULL), 0);
    cr_expect_lt(g_get_monotonic_time() - start, 10 * G_USEC_PER_SEC);
    cr_expect(is_up("a"));
    cr_expect_eq(hook("release", NULL, NULL), 0);
}

Test(hook, a_domain_that_is_not_ours_costs_nothing)
{
    static const char *const operations[] = {"migrate", "restore", "prepare",   "start",
                                             "started", "release", "reconnect", "of-the-future"};

    /* No configuration either. */
    domain_xml = g_strdup("<domain type='kvm'><name>web</name><uuid>" UUID "</uuid></domain>");
    for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
        g_autofree char *out = NULL;
        g_autofree char *err = NULL;

        cr_expect_eq(hook(operations[i], &out, &err), 0, "%s: %s", operations[i], err);
        cr_expect_str_eq(out, "", "%s", operations[i]);
        cr_expect_str_eq(err, "", "%s", operations[i]);
    }
}

#define LIMITED(device, limits) "<vt:nic mac='" MAC_B "' device='" device "' " limits "/>"

Test(hook, what_this_host_cannot_give_is_refused_with_the_reason)
{
    static const struct {
        const char *nic, *why;
        bool without_interface;
    } rows[] = {
        {LIMITED("vdpa:green", ""), "this host has no device vdpa:green", false},
        {LIMITED("vdpa:blue", "format='9'"), "states of format 9 are asked for", false},
        {LIMITED("vdpa:blue", "features='MAC MQ VERSION_1 CTRL_VQ' pairs='4' ring-size='256'"),
         "queue pairs of 2, the baseline has 4", false},
        {LIMITED("vdpa:blue", "features='RSS MAC VERSION_1 CTRL_VQ' pairs='1' ring-size='256' "
                              "rss-key='40' rss-table='128' hash-types='0x3f'"),
         "RSS", false},
        {LIMITED("vdpa:blue", "features='MTU MAC VERSION_1' pairs='1' ring-size='256' mtu='9000'"),
         "MTU", false},
        {LIMITED("vdpa:blue", "features='NONSENSE' pairs='1' ring-size='256'"),
         "no feature 'NONSENSE'", false},
        {LIMITED("vdpa:gone", ""), "vhost-vdpa-999", false},
        {LIMITED("vdpa:blue", ""), "there is no such <interface>", true},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *err = NULL;
        g_autofree char *b = interface(MAC_B, "b");

        write_config("[host]\nstart-with = fork\n"
                     "[vdpa:gone]\ndevice = vhost-vdpa:/dev/vhost-vdpa-999\n"
                     "[vdpa:blue]\ndevice = sim:pairs=2,no-rss\n");
        describe(rows[i].nic, rows[i].without_interface ? "" : b);
        cr_expect_neq(hook("prepare", NULL, &err), 0, "%s", rows[i].why);
        cr_expect(strstr(err, rows[i].why), "\"%s\" says: %s", rows[i].nic, err);
        cr_expect(strstr(err, "NIC " MAC_B), "%s", err);
        /* All or none: NIC a could have been had. */
        cr_expect_not(is_up("a"), "%s", rows[i].why);
        cr_expect_eq(hook("release", NULL, NULL), 0);
    }
}

Test(hook, a_tracker_that_has_gone_is_brought_back_and_never_a_reason)
{
    g_autofree char *err = NULL;

    write_config(CONFIG);
    describe("", "");
    cr_assert_eq(hook("reconnect", NULL, &err), 0);
    cr_expect_str_eq(err, "");
    cr_expect(is_up("a"));
    cr_expect_eq(hook("reconnect", NULL, NULL), 0);
    cr_expect(is_up("a"));
    cr_expect_eq(hook("release", NULL, NULL), 0);
    g_clear_pointer(&err, g_free);
    write_config("[host]\n");
    cr_expect_eq(hook("reconnect", NULL, &err), 0, "libvirt would end the guest");
    cr_expect(strstr(err, "this host has no device vdpa:blue"), "%s", err);
    g_clear_pointer(&domain_xml, g_free);
    domain_xml = g_strdup("no xml");
    cr_expect_eq(hook("reconnect", NULL, NULL), 0);
}

Test(hook, another_device_behind_a_running_tracker_is_told)
{
    g_autofree char *err = NULL;

    write_config(CONFIG);
    describe("", "");
    cr_assert_eq(hook("prepare", NULL, NULL), 0);
    write_config("[host]\nstart-with = fork\n[vdpa:blue]\ndevice = sim:\n");
    cr_expect_neq(hook("prepare", NULL, &err), 0);
    cr_expect(strstr(err, "runs already, with sim:pairs=2 and not with sim:"), "%s", err);
    cr_expect(is_up("a"), "it is somebody's");
    cr_expect_eq(hook("release", NULL, NULL), 0);
}

Test(hook, sockets_are_moved_where_the_host_says_so_and_only_there)
{
    g_autofree char *config = g_strdup_printf(
        "[host]\nsocket-dir = %s /srv/vt\n[vdpa:blue]\ndevice = sim:\n", vm_runtime_dir());
    g_autofree char *out = NULL;

    describe("", "");
    write_config(CONFIG);
    cr_expect_eq(hook("migrate", &out, NULL), 0);
    cr_expect_str_eq(out, "", "unchanged");
    g_clear_pointer(&out, g_free);
    write_config(config);
    cr_expect_eq(hook("migrate", &out, NULL), 0);
    cr_expect(strstr(out, "/srv/vt/a.sock"), "%s", out);
}

/* systemctl(1) as it is seen from here: the unit's environment file and its start. */
Test(hook, with_systemd_it_is_an_instance_of_the_unit)
{
    g_autofree char *bin = g_build_filename(vm_runtime_dir(), "systemctl", NULL);
    g_autofree char *calls = g_build_filename(vm_runtime_dir(), "calls", NULL);
    g_autofree char *env = g_build_filename(vm_runtime_dir(), "a.env", NULL);
    /* systemd cuts the value at blanks, without quotes, as $(...) does. */
    g_autofree char *script =
        g_strdup_printf("#!/bin/sh\necho \"$*\" >>%s\n[ \"$2\" = start ] || exit 0\n"
                        "setsid %s run --name a $(cut -d= -f2- %s) >/dev/null 2>&1 </dev/null &\n",
                        calls, VDT_TRACKER_EXE, env);
    g_autofree char *path = g_strdup_printf("%s:%s", vm_runtime_dir(), g_getenv("PATH"));
    g_autofree char *text = NULL;
    g_autofree char *err = NULL;

    cr_assert(g_file_set_contents_full(bin, script, -1, 0, 0755, NULL));
    g_setenv("PATH", path, TRUE);
    write_config("[host]\nstart-with = systemd\n[vdpa:blue]\ndevice = sim:\n");
    describe("", "");
    cr_assert_eq(hook("prepare", NULL, &err), 0, "%s", err);
    cr_expect(is_up("a"));
    cr_expect_eq(hook("release", NULL, NULL), 0);
    cr_expect_not(is_up("a"));
    cr_assert(g_file_get_contents(calls, &text, NULL, NULL));
    cr_expect_str_eq(text, "--no-block start vdpa-tracker@a.service\n"
                           "--no-block stop vdpa-tracker@a.service\n");
}

Test(hook, attach_writes_what_the_hook_reads)
{
    g_autofree char *before = g_build_filename(vm_runtime_dir(), "before.xml", NULL);
    g_autofree char *config = g_build_filename(vm_runtime_dir(), "devices.conf", NULL);
    g_autofree char *err = NULL;
    g_autofree char *name = g_strdup(UUID "-525400aa0001");

    write_config(CONFIG);
    cr_assert(g_file_set_contents(before,
                                  "<domain type='kvm'><name>web</name><uuid>" UUID "</uuid>"
                                  "<devices><interface type='network'>"
                                  "<mac address='52:54:00:AA:00:01'/><source network='default'/>"
                                  "</interface></devices></domain>",
                                  -1, NULL));
    cr_assert_eq(vm_cli(&domain_xml, &err, "attach", "--xml", before, "--config", config,
                        "--socket-dir", vm_runtime_dir(), "web", MAC_A, "vdpa:blue", NULL),
                 0, "%s", err);
    cr_expect(strstr(domain_xml, "features="), "%s", domain_xml);
    g_clear_pointer(&err, g_free);
    cr_assert_eq(hook("prepare", NULL, &err), 0, "%s", err);
    cr_expect(is_up(name));
    cr_expect_eq(hook("release", NULL, NULL), 0);
    cr_expect_not(is_up(name));
}
