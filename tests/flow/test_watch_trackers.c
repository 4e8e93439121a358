/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a watcher hears of trackers that run, in a migration of which a test plays libvirt. */
#include <signal.h>
#include <string.h>

#include "lib/leak.h"
#include "lib/vm.h"
#include "tools/vdpa-tracker/watch_trackers.h"

TestSuite(watch_trackers, .init = NULL, .fini = vm_clean, .timeout = 60);

#define WAIT_US (20 * G_USEC_PER_SEC)
#define UUID "11111111-2222-3333-4444-555555555555"

static const char xml[] =
    "<domain type='test'><name>web</name><uuid>" UUID "</uuid>"
    "<metadata><t:tracker xmlns:t='" VDT_LIBVIRT_NAMESPACE "'>"
    "<t:nic mac='52:54:00:00:00:01' device='vdpa:blue'/></t:tracker></metadata>"
    "<devices><interface type='vhostuser'><mac address='52:54:00:00:00:01'/>"
    "<source type='unix' path='/somewhere/else/a.sock' mode='client'/></interface></devices>"
    "</domain>";

struct stand {
    struct vdt_watch *watch;
    struct vdt_watch_trackers *trackers;
    char *text;
    size_t len, read; /* @read: what was looked at already */
    FILE *out;
};

static void
tell(struct stand *s, enum vdt_watch_event event)
{
    const struct vdt_watch_time when = {g_get_real_time(), g_get_monotonic_time()};

    vdt_watch_event(s->watch, UUID, event, 1, when);
    vdt_watch_trackers_look(s->trackers);
}

static void
begin(struct stand *s)
{
    const struct vdt_watch_time when = {g_get_real_time(), g_get_monotonic_time()};

    *s = (struct stand){0};
    s->out = open_memstream(&s->text, &s->len);
    s->watch = vdt_watch_new(s->out, false);
    s->trackers = vdt_watch_trackers_new(s->watch);
    vdt_watch_domain(s->watch, vdt_domain_parse(xml, strlen(xml), NULL), when);
    tell(s, VDT_WATCH_FOUND_RUNNING);
}

static void
end(struct stand *s)
{
    vdt_watch_trackers_free(s->trackers);
    vdt_watch_free(s->watch);
    fclose(s->out);
    free(s->text);
}

static void
expect(struct stand *s, const char *pattern)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;

    for (;;) {
        g_autoptr(GMatchInfo) info = NULL;
        g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
        int at;

        fflush(s->out);
        if (g_regex_match(regex, s->text + s->read, 0, &info) &&
            g_match_info_fetch_pos(info, 0, NULL, &at)) {
            s->read += (size_t) at;
            return;
        }
        cr_assert_lt(g_get_monotonic_time(), deadline, "no \"%s\" in: %s", pattern,
                     s->text + s->read);
        g_main_context_iteration(NULL, TRUE);
    }
}

Test(watch_trackers, phases_of_a_tracker_are_told_with_their_times_while_its_domain_migrates)
{
    const char *const always[] = {"--shadow", "always", NULL};
    struct tracker a;
    struct stand s;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", always);
    vm_init(&vm, 0);
    vm_connect(&vm, "a");
    cr_assert(vm_start(&vm, &error), "%s", error ? error->message : "");
    vm_traffic(&vm, 10);
    begin(&s);
    tell(&s, VDT_WATCH_PASS);
    expect(&s, "web: precopy");
    expect(&s, " web: tracker a: running\n");
    tell(&s, VDT_WATCH_SUSPENDED_MIGRATED);
    vm_stop(&vm);
    expect(&s, "web: handover");
    expect(&s, " web: tracker a: stopped, stopped for 0\\.[0-9]{6} s\n");
    tell(&s, VDT_WATCH_STOPPED_MIGRATED);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
    expect(&s, " web: tracker a: gone\n");
    end(&s);
}

Test(watch_trackers, tracker_that_does_not_answer_delays_nothing)
{
    struct tracker a;
    struct stand s;

    tracker_start(&a, "a", "sim:", NULL);
    begin(&s);
    kill(a.pid, SIGSTOP);
    int64_t start = g_get_monotonic_time();
    tell(&s, VDT_WATCH_PASS);
    tell(&s, VDT_WATCH_SUSPENDED_MIGRATED);
    tell(&s, VDT_WATCH_RESUMED);
    cr_expect_lt(g_get_monotonic_time() - start, G_USEC_PER_SEC / 2);
    expect(&s, "web: running after .*: the migration failed");
    kill(a.pid, SIGCONT);
    expect(&s, " web: tracker a: idle\n");
    end(&s);
    cr_assert_eq(tracker_end(&a), 0);
}
