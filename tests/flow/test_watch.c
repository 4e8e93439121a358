/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watcher on libvirt's own test driver: in this process, and as a program beside a libvirtd
 * that has no other driver, which may be killed.
 */
#include <criterion/criterion.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/openmetrics.h"
#include "tools/vdpa-tracker/watch_link.h"

TestSuite(watch, .timeout = 60);

#define WAIT_US (20 * G_USEC_PER_SEC)
#define METADATA "<tracker><nic mac='52:54:00:00:00:01' device='vdpa:blue'/></tracker>"

static const char web[] =
    "<domain type='test'><name>web</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"
    "<memory>65536</memory><os><type>hvm</type></os>"
    "<metadata><t:tracker xmlns:t='" VDT_LIBVIRT_NAMESPACE "'>"
    "<t:nic mac='52:54:00:00:00:01' device='vdpa:blue'/></t:tracker></metadata>"
    "<devices><interface type='vhostuser'><mac address='52:54:00:00:00:01'/>"
    "<source type='unix' path='/run/vdpa-tracker/web.sock' mode='client'/>"
    "<model type='virtio'/></interface></devices></domain>";

static void
be_quiet(void *ctx, virErrorPtr error)
{
}

/* --- in this process --- */

struct stand {
    struct vdt_watch *watch;
    struct vdt_watch_link *link;
    FILE *out;
    char *text;
    size_t len, read; /* @read: what was looked at already */
    virConnectPtr rw;
};

static gboolean
on_tick(gpointer data)
{
    return G_SOURCE_CONTINUE;
}

/* The main loop runs until a line of those not looked at holds @text; they are, then. */
static void
expect(struct stand *s, const char *text)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;
    const char *found;

    fflush(s->out);
    while (!(found = strstr(s->text + s->read, text))) {
        cr_assert_lt(g_get_monotonic_time(), deadline, "no \"%s\" in: %s", text, s->text + s->read);
        g_main_context_iteration(NULL, TRUE);
        fflush(s->out);
    }
    s->read = (size_t) (found - s->text) + strlen(text);
}

static void
begin(struct stand *s)
{
    const struct vdt_watch_link_options options = {"test:///default", 50, 200, 50};

    *s = (struct stand){0};
    s->out = open_memstream(&s->text, &s->len);
    s->watch = vdt_watch_new(s->out, false);
    g_timeout_add(20, on_tick, NULL);
    s->link = vdt_watch_link_new(&options, s->watch, NULL, NULL);
    expect(s, "libvirt: connected: test:///default");
    s->rw = virConnectOpen("test:///default");
    cr_assert(s->rw);
}

static void
end(struct stand *s)
{
    vdt_watch_link_free(s->link);
    virConnectClose(s->rw);
    vdt_watch_free(s->watch);
    fclose(s->out);
    free(s->text);
}

/* Whatever was to come has come. */
static void
settle(struct stand *s)
{
    int64_t until = g_get_monotonic_time() + G_USEC_PER_SEC / 4;

    while (g_get_monotonic_time() < until)
        g_main_context_iteration(NULL, TRUE);
    fflush(s->out);
}

Test(watch, domain_is_followed_from_its_start_to_its_end)
{
    struct stand s;

    begin(&s);
    virDomainPtr domain = virDomainCreateXML(s.rw, web, 0);
    cr_assert(domain, "%s", virGetLastErrorMessage());
    expect(&s, " web: running\n");
    cr_assert_eq(virDomainSuspend(domain), 0);
    expect(&s, " web: paused after ");
    cr_assert_eq(virDomainResume(domain), 0);
    expect(&s, " web: running after ");
    cr_assert_eq(virDomainDestroy(domain), 0);
    expect(&s, " web: off after ");
    cr_expect_eq(strstr(s.text, " test: "), NULL, "a domain without our metadata: %s", s.text);
    virDomainFree(domain);
    end(&s);
}

Test(watch, metadata_decides_and_may_come_and_go)
{
    struct stand s;

    begin(&s);
    virDomainPtr domain = virDomainLookupByName(s.rw, "test");
    cr_assert(domain);
    cr_assert_eq(virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, METADATA, "vt",
                                      VDT_LIBVIRT_NAMESPACE, VIR_DOMAIN_AFFECT_LIVE),
                 0);
    expect(&s, " test: running\n");
    cr_assert_eq(virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, NULL, "vt",
                                      VDT_LIBVIRT_NAMESPACE, VIR_DOMAIN_AFFECT_LIVE),
                 0);
    settle(&s);
    cr_assert_eq(virDomainSuspend(domain), 0);
    settle(&s);
    cr_expect_eq(strstr(s.text, "paused"), NULL, "%s", s.text);
    virDomainFree(domain);
    end(&s);
}

/* Metadata that cannot be understood is somebody's mistake, not the watcher's end. */
Test(watch, metadata_that_makes_no_sense_is_not_followed)
{
    struct stand s;

    begin(&s);
    virDomainPtr domain = virDomainLookupByName(s.rw, "test");
    cr_assert_eq(virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
                                      "<tracker><nic mac='no'/></tracker>", "vt",
                                      VDT_LIBVIRT_NAMESPACE, VIR_DOMAIN_AFFECT_LIVE),
                 0);
    settle(&s);
    cr_expect_eq(strstr(s.text, " test: "), NULL, "%s", s.text);
    cr_assert_eq(virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, METADATA, "vt",
                                      VDT_LIBVIRT_NAMESPACE, VIR_DOMAIN_AFFECT_LIVE),
                 0);
    expect(&s, " test: running\n");
    virDomainFree(domain);
    end(&s);
}

/* --- beside a libvirtd --- */

struct host {
    char *dir, *uri, *uri_ro;
    GPid libvirtd, watch;
    int out; /* the watcher's lines */
    GString *seen;
    size_t read;
};

static void
die_with_parent(gpointer unused)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static GPid
start(const char *const *words, int *ret_out, int *ret_err)
{
    GError *error = NULL;
    GPid pid;
    bool ok = g_spawn_async_with_pipes(NULL, (char **) words, NULL,
                                       G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH |
                                           (ret_out ? 0 : G_SPAWN_STDOUT_TO_DEV_NULL),
                                       die_with_parent, NULL, &pid, NULL, ret_out, ret_err, &error);

    cr_assert(ok, "%s", error ? error->message : "");
    return pid;
}

static int
stop(GPid pid, int number)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;
    int status = 0;

    kill(pid, number);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (g_get_monotonic_time() > deadline)
            kill(pid, SIGKILL);
        g_usleep(5000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
start_libvirtd(struct host *h)
{
    g_autofree char *config = g_strdup_printf("%s/conf", h->dir);
    g_autofree char *pidfile = g_strdup_printf("%s/pid", h->dir);
    g_autofree char *socket = g_strdup_printf("%s/libvirt-sock-ro", h->dir);
    const char *const words[] = {"libvirtd", "-f", config, "-p", pidfile, NULL};
    int64_t deadline = g_get_monotonic_time() + WAIT_US;

    g_unlink(socket);
    g_unlink(pidfile);
    h->libvirtd = start(words, NULL, NULL);
    while (!g_file_test(socket, G_FILE_TEST_EXISTS)) {
        cr_assert_lt(g_get_monotonic_time(), deadline, "libvirtd does not come up");
        g_usleep(20000);
    }
}

/* False: there is none. */
static bool
host_begin(struct host *h)
{
    g_autofree char *program = g_find_program_in_path("libvirtd");

    *h = (struct host){0};
    if (!program || geteuid() != 0) {
        fprintf(stderr, "# libvirtd is not installed, or this is not root: not tried\n");
        return false;
    }
    h->dir = g_dir_make_tmp("vdt-watch-XXXXXX", NULL);
    h->uri = g_strdup_printf("test+unix:///default?socket=%s/libvirt-sock", h->dir);
    h->uri_ro = g_strdup_printf("test+unix:///default?socket=%s/libvirt-sock-ro", h->dir);
    g_autofree char *config = g_strdup_printf("%s/conf", h->dir);
    g_autofree char *text = g_strdup_printf("unix_sock_dir = \"%s\"\n"
                                            "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n"
                                            "log_outputs = \"4:file:%s/log\"\n",
                                            h->dir, h->dir);
    cr_assert(g_file_set_contents(config, text, -1, NULL));
    /* No driver but that of the library itself. */
    g_setenv("LIBVIRT_DRIVER_DIR", h->dir, TRUE);
    virSetErrorFunc(NULL, be_quiet);
    start_libvirtd(h);
    return true;
}

static void
host_end(struct host *h)
{
    if (h->libvirtd)
        stop(h->libvirtd, SIGTERM);
    GDir *dir = g_dir_open(h->dir, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(h->dir, name, NULL);
        g_unlink(path);
    }
    g_dir_close(dir);
    cr_expect_eq(g_rmdir(h->dir), 0);
}

/* The watcher's next line that holds all of @words; what stands before it is skipped. */
static void
next_line(struct host *h, const char *word, const char *other)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;

    for (;;) {
        const char *line = h->seen->str + h->read, *line_end;

        while ((line_end = strchr(line, '\n'))) {
            g_autofree char *one = g_strndup(line, (size_t) (line_end - line));

            h->read += (size_t) (line_end - line) + 1;
            if (strstr(one, word) && strstr(one, other)) {
                g_autoptr(JsonNode) node = json_from_string(one, NULL);
                cr_expect(node, "%s", one);
                return;
            }
            line = line_end + 1;
        }
        char bytes[4096];
        GPollFD p = {.fd = h->out, .events = G_IO_IN};
        cr_assert_lt(g_get_monotonic_time(), deadline, "no %s, %s in: %s", word, other,
                     h->seen->str);
        if (g_poll(&p, 1, 100) != 1)
            continue;
        ssize_t n = read(h->out, bytes, sizeof(bytes));
        cr_assert_gt(n, 0, "watch has ended: %s", h->seen->str);
        g_string_append_len(h->seen, bytes, n);
    }
}

static virDomainPtr
create(struct host *h, virConnectPtr *ret)
{
    *ret = virConnectOpen(h->uri);
    cr_assert(*ret, "%s", virGetLastErrorMessage());
    virDomainPtr domain = virDomainCreateXML(*ret, web, 0);
    cr_assert(domain, "%s", virGetLastErrorMessage());
    return domain;
}

Test(watch, connection_that_breaks_is_opened_again_and_everything_looked_at_anew)
{
    struct host h;
    virConnectPtr rw;

    if (!host_begin(&h))
        return;
    g_autofree char *metrics = g_build_filename(h.dir, "watch.prom", NULL);
    const char *const words[] = {VDT_TRACKER_EXE, "watch",          "--connect", h.uri_ro,
                                 "--json",        "--metrics-file", metrics,     NULL};
    h.seen = g_string_new(NULL);
    h.watch = start(words, &h.out, NULL);
    next_line(&h, "\"event\":\"connection\"", "\"state\":\"connected\"");
    virDomainPtr domain = create(&h, &rw);
    next_line(&h, "\"domain\":\"web\"", "\"phase\":\"running\"");
    cr_assert_eq(virDomainSuspend(domain), 0);
    next_line(&h, "\"domain\":\"web\"", "\"phase\":\"paused\"");
    virDomainFree(domain);
    virConnectClose(rw);

    cr_expect_eq(stop(h.libvirtd, SIGKILL), -SIGKILL);
    next_line(&h, "\"event\":\"connection\"", "\"state\":\"lost\"");
    /* Its domains went with it. */
    start_libvirtd(&h);
    next_line(&h, "\"event\":\"connection\"", "\"state\":\"connected\"");
    next_line(&h, "\"domain\":\"web\"", "\"phase\":\"off\"");
    domain = create(&h, &rw);
    next_line(&h, "\"domain\":\"web\"", "\"phase\":\"running\"");
    virDomainFree(domain);
    virConnectClose(rw);
    cr_expect_eq(stop(h.watch, SIGTERM), 0);

    g_autofree char *text = NULL;
    char *why = NULL;
    cr_assert(g_file_get_contents(metrics, &text, NULL, NULL));
    g_autoptr(GHashTable) samples = openmetrics_read(text, true, &why);
    cr_assert(samples, "%s\n%s", why, text);
    cr_expect_str_eq(g_hash_table_lookup(samples, "vdpa_tracker_watch_connected{}"), "1");
    cr_expect_str_eq(g_hash_table_lookup(samples, "vdpa_tracker_watch_lost_connections_total{}"),
                     "1");
    close(h.out);
    host_end(&h);
}

/* libvirt's message is in the line, and nothing of it beside. */
Test(watch, where_nobody_listens_it_is_tried_again_with_growing_patience)
{
    const char *const words[] = {VDT_TRACKER_EXE, "watch",
                                 "--connect",     "test+unix:///default?socket=/nonexistent/sock",
                                 "--json",        NULL};
    struct host h = {.seen = g_string_new(NULL)};
    char said[256];
    int err;

    h.watch = start(words, &h.out, &err);
    next_line(&h, "\"state\":\"lost\"", "next try is in 1.0 s");
    next_line(&h, "\"state\":\"lost\"", "next try is in 2.0 s");
    cr_expect(strstr(h.seen->str, "Failed to connect socket"), "%s", h.seen->str);
    cr_expect_eq(stop(h.watch, SIGINT), 0);
    ssize_t len = read(err, said, sizeof(said));
    cr_expect_eq(len, 0, "%.*s", (int) MAX(len, 0), said);
    close(err);
    close(h.out);
}
