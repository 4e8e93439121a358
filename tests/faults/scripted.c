/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small migration with one fault in it, and what became of everyone; tests/faults/run.py judges.
 *
 *   faults-scripted EXE DIR VICTIM CALLS [POINT ERRNO FDS FDS]
 *
 * VICTIM (source, destination, snapshot) is watched (supervise.h; CALLS is the file with its
 * calls). Without POINT each call is printed, else the call POINT fails with ERRNO, or ends the
 * process where ERRNO is 0; FDS are the descriptors that source and destination had left in a run
 * without a fault. DIR is the runtime directory; DIR/state.vdts may hold an older snapshot.
 *
 * The VMM does what QEMU does: a migration that fails goes on at the source, on the connection that
 * is there, else on a new one, else with a tracker that was started anew. Only a destination that
 * has been started goes on there.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "errand.h"
#include "side.h"
#include "snapshot/snapshot.h"

#define RAM_SIZE (8u << 20)
#define STILL_US 1000 /* that nobody may write guest memory once all is stopped */
#define STATE_MAX (1u << 20)

struct scripted {
    const char *exe, *dir, *victim;
    struct supervise supervise;
    struct vdt_ram ram;
    struct side source, destination;
    struct errand errand;
    uint32_t bases[VDT_RINGS_MAX];
    bool has_bases;
    GByteArray *state;
    const char *stage;
    int snapshot_status;
    bool hung; /* a program had to be killed */
    bool touched;
};

static void say(const char *key, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
say(const char *key, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    printf("%s %s\n", key, g_strdelimit(text, "\n", ' '));
}

static bool
is_victim(const struct scripted *s, const char *name)
{
    return g_str_equal(s->victim, name);
}

/* ---- the migration, step by step ---- */

static bool
start(struct scripted *s, GError **error)
{
    if (!side_start(&s->source, error))
        return false;
    if (!is_victim(s, "snapshot") && !side_start(&s->destination, error))
        return false;
    return side_ready(&s->source, error) &&
           (is_victim(s, "snapshot") || side_ready(&s->destination, error));
}

/* The guest's rings go to the tracker of @side. */
static bool
run_on(struct scripted *s, struct side *side, const uint32_t *bases, GError **error)
{
    s->errand.line = vdt_frontend_backend_fd(side->vmm.frontend);
    return vdt_vmm_start(&side->vmm, &s->errand.driver, bases, error);
}

static bool
boot(struct scripted *s, struct side *side, GError **error)
{
    const struct vdt_driver_config config = {
        .features = vdt_driver_features(side->vmm.offered, false) &
                    ~(VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT) |
                      VDT_BIT(VIRTIO_NET_F_MQ)),
        .pairs = 1,
        .num = 64,
        .net = side->vmm.config,
        .seed = 1,
    };

    return errand_boot(&s->errand, &config, &s->ram, error) && run_on(s, side, NULL, error);
}

static bool
bring_up(struct scripted *s, GError **error)
{
    return side_connect(&s->source, error) && boot(s, &s->source, error);
}

static bool
work(struct scripted *s, GError **error)
{
    return errand_run(&s->errand, error);
}

static bool
take_snapshot(struct scripted *s, struct supervise *supervise, GError **error)
{
    g_autofree char *file = g_strdup_printf("%s/state.vdts", s->dir);
    g_autofree char *log = g_strdup_printf("%s/snapshot.log", s->dir);
    char *argv[] = {
        (char *) s->exe, (char *) "snapshot", (char *) "source", (char *) "-o", file, NULL};

    s->hung |= !side_command(supervise, argv, log, &s->snapshot_status, error);
    if (WIFEXITED(s->snapshot_status) && WEXITSTATUS(s->snapshot_status) == 0)
        return true;
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, "the snapshot was not taken");
    return false;
}

static bool
snapshot(struct scripted *s, GError **error)
{
    return take_snapshot(s, is_victim(s, "snapshot") ? &s->supervise : NULL, error);
}

static bool
log_on(struct scripted *s, GError **error)
{
    return vdt_vmm_log_start(&s->source.vmm, &s->errand.driver, error);
}

static uint64_t
ram_hash(const struct scripted *s)
{
    uint64_t hash = 0;

    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++)
        hash = XXH3_64bits_withSeed(s->ram.region[i].host, s->ram.region[i].size, hash);
    return hash;
}

static bool
stop(struct scripted *s, GError **error)
{
    s->has_bases = vdt_vmm_stop(&s->source.vmm, &s->errand.driver, s->bases, error);
    return s->has_bases;
}

static bool
save(struct scripted *s, GError **error)
{
    uint64_t before = ram_hash(s);

    s->state = vdt_frontend_save(s->source.vmm.frontend, STATE_MAX, error);
    g_usleep(STILL_US);
    s->touched |= ram_hash(s) != before;
    return s->state != NULL;
}

static bool
load(struct scripted *s, GError **error)
{
    return side_connect(&s->destination, error) &&
           vdt_frontend_load(s->destination.vmm.frontend, s->state->data, s->state->len, error);
}

static bool
land(struct scripted *s, GError **error)
{
    return run_on(s, &s->destination, s->bases, error);
}

static const struct {
    const char *name;
    bool (*run)(struct scripted *s, GError **error);
} stages[] = {
    {"start", start}, {"bring-up", bring_up}, {"work", work},   {"snapshot", snapshot},
    {"log", log_on},  {"work-on", work},      {"stop", stop},   {"save", save},
    {"load", load},   {"land", land},         {"arrive", work},
};

/* ---- after a failure: the guest goes on ---- */

/* Where a ring stands that nobody could be asked about: QEMU takes the used index. */
static void
guess_bases(struct scripted *s)
{
    for (unsigned i = 0; i < vdt_driver_queue_count(&s->errand.driver); i++) {
        const struct vdt_queue *queue = vdt_driver_queue(&s->errand.driver, i);

        s->bases[i] = vdt_get16(vdt_ram_at(&s->ram, queue->addr.device + 2, 2));
    }
}

static bool
go_on_here(struct scripted *s, struct side *side, GError **error)
{
    if (!s->errand.made)
        return boot(s, side, error);
    if (!s->has_bases)
        guess_bases(s);
    return run_on(s, side, s->bases, error);
}

static bool
reconnect(struct scripted *s, struct side *side, GError **error)
{
    side_disconnect(side);
    return side_connect(side, error);
}

static bool
restart(struct scripted *s, struct side *side, GError **error)
{
    side_disconnect(side);
    side->supervise = NULL;
    side->first = false;
    return side_start(side, error) && side_ready(side, error) && side_connect(side, error);
}

/* How the guest's NIC came back, NULL if not. */
static const char *
go_on(struct scripted *s, struct side *side)
{
    g_autoptr(GError) error = NULL;

    if (side_alive(side) && side->connected) {
        if (go_on_here(s, side, &error) && errand_run(&s->errand, &error))
            return "same";
        say("went-wrong", "same: %s", error->message);
        g_clear_error(&error);
        s->has_bases = false;
    }
    if (side_alive(side)) {
        if (reconnect(s, side, &error) && go_on_here(s, side, &error) &&
            errand_run(&s->errand, &error))
            return "reconnected";
        say("went-wrong", "reconnected: %s", error->message);
        g_clear_error(&error);
    }
    /* A guest whose NIC is gone for good: it resets it. */
    if (side_alive(side))
        s->hung |= !side_end(side);
    if (restart(s, side, &error) && boot(s, side, &error) && errand_run(&s->errand, &error))
        return "restarted";
    say("went-wrong", "restarted: %s", error->message);
    return NULL;
}

/* ---- what became of it ---- */

static bool
decodes(const char *path, bool *ret_new)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(path, &error);

    *ret_new = snapshot && memcmp(snapshot->net.mac, errand_mac, 6) == 0;
    return snapshot != NULL;
}

static const char *
judge_file(const struct scripted *s)
{
    g_autofree char *path = g_strdup_printf("%s/state.vdts", s->dir);
    bool is_new;

    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return "absent";
    if (!decodes(path, &is_new))
        return "broken";
    return is_new ? "new" : "old";
}

static void
say_status(const char *name, int status)
{
    if (WIFEXITED(status))
        say("ended", "%s exit %d", name, WEXITSTATUS(status));
    else
        say("ended", "%s signal %d", name, WTERMSIG(status));
}

static void
end_side(struct scripted *s, struct side *side)
{
    g_autofree char *list = NULL;

    side_disconnect(side);
    if (!side->pid)
        return;
    bool asked = side_alive(side);
    if (asked && side->first) {
        unsigned n = side_fds(side, &list);
        say("fds", "%s %u %s", side->name, n, list);
    }
    bool in_time = side_end(side);
    s->hung |= !in_time;
    if (!in_time)
        say("hung", "%s does not end", side->name);
    if (side->first)
        say("asked", "%s %d", side->name, asked);
    say_status(side->name, side->status);
}

static bool
run(struct scripted *s)
{
    bool short_script = is_victim(s, "snapshot");
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(stages); i++) {
        s->stage = stages[i].name;
        if (!stages[i].run(s, &error)) {
            say("failed", "%s: %s", s->stage, error ? error->message : "no reason given");
            if (error && g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT))
                say("late", "%s", s->stage);
            return false;
        }
        if (short_script && stages[i].run == snapshot)
            break;
    }
    say("done", "%s", s->stage);
    return true;
}

static void
recover(struct scripted *s)
{
    bool arrived = g_str_equal(s->stage, "arrive");
    struct side *side = arrived ? &s->destination : &s->source;

    if (g_str_equal(s->stage, "snapshot")) {
        /* Nobody's business but the snapshot's: the guest goes on all the same. */
        g_autoptr(GError) error = NULL;
        if (side_alive(&s->source) && errand_run(&s->errand, &error)) {
            say("went", "source untouched");
            return;
        }
        s->has_bases = false;
    }
    if (!arrived)
        side_disconnect(&s->destination);
    if (arrived || g_str_equal(s->stage, "stop"))
        s->has_bases = false;
    const char *how = go_on(s, side);
    say("went", "%s %s", how ? side->name : "nowhere", how ? how : "");
}

static void
report(struct scripted *s)
{
    struct errand *errand = &s->errand;

    errand_clear(errand);
    say("reached", "%d", s->supervise.reached);
    say("guest", "duplicated=%lu corrupt=%lu lost=%u refused=%u touched=%d",
        (unsigned long) errand->duplicated, (unsigned long) errand->corrupt, errand->lost,
        errand->refused, s->touched);
    say("file", "%s", judge_file(s));
}

/* The snapshot's client again, undisturbed. */
static void
snapshot_again(struct scripted *s)
{
    g_autoptr(GError) error = NULL;

    say_status("snapshot", s->snapshot_status);
    if (!is_victim(s, "snapshot"))
        return;
    say("first-file", "%s", judge_file(s));
    say("again", "%s", take_snapshot(s, NULL, &error) ? "taken" : error->message);
}

int
main(int argc, char **argv)
{
    struct scripted s = {.snapshot_status = 0x7f00};
    g_autoptr(GError) error = NULL;

    if (argc != 5 && argc != 9)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    s.exe = argv[1];
    s.dir = argv[2];
    s.victim = argv[3];
    g_setenv("VDPA_TRACKER_RUNTIME_DIR", s.dir, TRUE);
    s.supervise.marker = "/dev/null";
    if (argc == 9)
        s.supervise.fault = (struct supervise_fault){argv[5], atoi(argv[6])};
    else
        s.supervise.record = stdout;
    if (!supervise_init(&s.supervise, argv[4], &error) || !vdt_ram_init(&s.ram, RAM_SIZE, &error)) {
        fprintf(stderr, "faults-scripted: %s\n", error->message);
        return 1;
    }
    s.source = (struct side){.name = "source", .device = "sim:mac=52:54:00:fa:17:0a"};
    s.destination = (struct side){.name = "destination", .device = "sim:mac=52:54:00:fa:17:0b"};
    for (int i = 0; i < 2; i++) {
        struct side *side = i ? &s.destination : &s.source;

        side->exe = s.exe;
        side->dir = s.dir;
        side->ram = &s.ram;
        side->first = true;
        side->fds_max = argc == 9 ? (unsigned) atoi(argv[7 + i]) : 0;
        side->supervise = is_victim(&s, side->name) ? &s.supervise : NULL;
    }
    if (!run(&s))
        recover(&s);
    snapshot_again(&s);
    end_side(&s, &s.source);
    end_side(&s, &s.destination);
    report(&s);
    if (s.supervise.pid > 0)
        supervise_clear(&s.supervise);
    if (s.hung)
        say("hung", "somebody had to be killed");
    return 0;
}
