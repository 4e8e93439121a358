/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A VMM that carries no device state is held while a command carries it. */
#include "lib/handover_stand.h"
#include "lib/leak.h"

#include <string.h>

TestSuite(handover, .init = NULL, .fini = vm_clean, .timeout = 60);

#define GIVE_TO_B VDT_TRACKER_EXE " restore b -"
#define DIR "$VDPA_TRACKER_RUNTIME_DIR/"

/* Here where it was stopped. */
static void
resume(struct vm *vm)
{
    go_on(vm, "a", "resumed");
}

Test(handover, state_is_at_the_destination_before_the_vmm_goes_on)
{
    struct tracker a, b;
    struct vm vm;

    tracker_start(&b, "b", "sim:loop", (const char *[]){"--await-state", NULL});
    begin(&a, &vm, GIVE_TO_B, "10");
    vm_log(&vm, true);
    vm_stop(&vm);
    expect_text("b", "phase", "loaded");
    expect_text("a", "phase", "saved");
    expect_text("a", "handover.state", "given");
    expect_text("a", "handover.error", "null");
    expect_counts("a", 1, 0);
    cr_assert_gt(number("a", "handover.bytes"), 100);
    cr_assert_gt(number("a", "handover.us"), 0);
    move_to(&vm, "b");
    go_on(&vm, "b", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

/* A migration that is given up leaves nothing behind that the next guest could stumble over. */
Test(handover, state_is_dropped_with_the_vmm_that_it_was_for)
{
    struct tracker a, b;
    struct vm vm, other;
    GError *error = NULL;

    tracker_start(&b, "b", "sim:loop", (const char *[]){"--await-state", NULL});
    begin(&a, &vm, GIVE_TO_B, "10");
    vm_init(&other, VDT_BIT(VIRTIO_NET_F_MAC));
    vm_connect(&other, "b");
    vm_log(&vm, true);
    vm_stop(&vm);
    expect_text("b", "phase", "loaded");
    vm_disconnect(&other);
    expect_text("b", "phase", "idle");
    resume(&vm);
    vm_connect(&other, "b");
    must(vm_start(&other, &error), error);
    vm_traffic(&other, 20);
    expect_text("b", "arrival", "new");
    vm_clear(&other);
    vm_log(&vm, true);
    vm_stop(&vm);
    move_to(&vm, "b");
    go_on(&vm, "b", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

/* As QEMU 7.2 does with several pairs: all is reset before the positions of the later ones are
 * asked for. */
Test(handover, reset_between_two_positions_is_no_way_around)
{
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&b, "b", "sim:loop", NULL);
    begin(&a, &vm, GIVE_TO_B, "10");
    vm_log(&vm, true);
    for (unsigned i = 0; i < 2; i++)
        must(vdt_frontend_get_base(vm.frontend, i, &vm.base[i], &error), error);
    expect_counts("a", 0, 0);
    must(vdt_frontend_set_status(vm.frontend, 0, &error), error);
    expect_counts("a", 0, 0);
    must(vdt_frontend_get_base(vm.frontend, VM_CVQ, &vm.base[VM_CVQ], &error), error);
    expect_counts("a", 1, 0);
    move_to(&vm, "b");
    go_on(&vm, "b", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

Test(handover, each_stop_has_its_own)
{
    struct tracker a, b;
    struct vm vm;

    tracker_start(&b, "b", "sim:loop", NULL);
    begin(&a, &vm, GIVE_TO_B, "10");
    for (int64_t n = 1; n <= 3; n++) {
        vm_log(&vm, true);
        vm_stop(&vm);
        vm_stop(&vm); /* once more asked for: told, and that is all */
        expect_counts("a", n, 0);
        resume(&vm);
    }
    vm_log(&vm, true);
    vm_stop(&vm);
    move_to(&vm, "b");
    go_on(&vm, "b", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

static const struct {
    const char *command;
    bool given;
    const char *says;
} commands[] = {
    {"true", true, NULL},
    {"exec <&-; sleep 0.1; exit 0", true, NULL}, /* that it reads is not asked for */
    {"head -c 1 >/dev/null", true, NULL},
    {"cat; cat /dev/stdin | wc -c", true, NULL},
    {"exit 3", false, "exit status 3"},
    {"echo no such host >&2; exit 255", false, "exit status 255 and said: no such host"},
    {"kill -9 $$", false, "signal 9"},
    {"/nowhere/program", false, "not found"},
    {"yes $(seq 99) | head -c 20000000; echo; echo at last; exit 1", false, " at last"},
    {"yes $(seq 99) | head -c 20000000 >&2; exit 0", true, NULL},
    {"printf 'a\\033[31m\\377\\n\\nb' >&2; exit 1", false, "said: a [31m\xef\xbf\xbd  b"},
};

/* One guest, stopped by each in turn, and going on after it. */
Test(handover, exit_status_is_the_answer)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *script = stand_file("script");

    begin(&a, &vm, "exec sh " DIR "script", "20");
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        cr_assert(g_file_set_contents(script, commands[i].command, -1, NULL));
        vm_log(&vm, true);
        vm_stop(&vm);
        expect_text("a", "handover.state", commands[i].given ? "given" : "failed");
        expect_text("a", "phase", commands[i].given ? "saved" : "stopped");
        if (commands[i].says)
            expect_part("a", "handover.error", commands[i].says);
        else
            expect_text("a", "handover.error", "null");
        resume(&vm);
    }
    end(&a, &vm);
}

Test(handover, command_has_the_state_the_name_and_nothing_else)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *state = stand_file("state"), *taken = stand_file("taken");
    int64_t bytes;

    begin(&a, &vm,
          "cd $VDPA_TRACKER_RUNTIME_DIR; echo $VDPA_TRACKER_NAME >name; ls /proc/self/fd >fds; "
          "cut -d' ' -f5,6,7 /proc/$$/stat >group; echo $$ >pid; cat >state",
          "10");
    vm_log(&vm, true);
    vm_stop(&vm);
    expect_counts("a", 1, 0);
    bytes = number("a", "handover.bytes");
    g_autofree char *name = stand_text("name"), *fds = stand_text("fds"),
                    *group = stand_text("group"), *pid = stand_text("pid");
    cr_assert_str_eq(name, "a\n");
    cr_assert_str_eq(fds, "0\n1\n2\n3\n"); /* its own of the folder */
    g_strchomp(pid);
    g_autofree char *alone = g_strdup_printf("%s %s 0\n", pid, pid); /* session, no terminal */
    cr_assert_str_eq(group, alone);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", taken, NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "diff", state, taken, NULL), 0);
    g_autofree char *content = NULL;
    gsize len;
    cr_assert(g_file_get_contents(state, &content, &len, NULL));
    cr_assert_eq((int64_t) len, bytes);
    resume(&vm);
    end(&a, &vm);
}

Test(handover, command_that_hangs_is_killed_with_all_it_started)
{
    struct tracker a;
    struct vm vm;

    begin(&a, &vm, "echo waiting for it; sleep 300 & echo $$ $! >" DIR "pids; wait", "1");
    vm_log(&vm, true);
    int64_t before = g_get_monotonic_time();
    vm_stop(&vm);
    int64_t took = g_get_monotonic_time() - before;
    cr_assert(took >= G_USEC_PER_SEC && took < 4 * G_USEC_PER_SEC, "%" G_GINT64_FORMAT " us", took);
    expect_part("a", "handover.error", "did not end within 1 s, it had said: waiting for it");
    expect_counts("a", 0, 1);
    expect_ended("pids");
    resume(&vm);
    end(&a, &vm);
}

/* What never stops talking is heard no longer than anything else. */
Test(handover, command_that_floods_ends_in_time)
{
    struct tracker a;
    struct vm vm;

    begin(&a, &vm, "echo $$ >" DIR "pids; yes; yes >&2", "1");
    vm_log(&vm, true);
    int64_t before = g_get_monotonic_time();
    vm_stop(&vm);
    cr_assert_lt(g_get_monotonic_time() - before, 4 * G_USEC_PER_SEC);
    expect_part("a", "handover.error", "y y y y");
    expect_ended("pids");
    resume(&vm);
    end(&a, &vm);
}

struct stop {
    struct vm *vm;
    bool ok;
    GError *error;
};

static gpointer
stop_in_thread(gpointer data)
{
    struct stop *stop = data;

    stop->ok = vm_try_stop(stop->vm, &stop->error);
    return NULL;
}

#define HANG                                                                                       \
    "echo $$ >" DIR "pids; while [ ! -e " DIR "go ];"                                              \
    " do sleep 0.02; done"

Test(handover, tracker_answers_everybody_else_while_the_vmm_is_held)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *go = stand_file("go"), *taken = stand_file("taken"), *shown = NULL;

    begin(&a, &vm, HANG, "30");
    vm_log(&vm, true);
    struct stop stop = {&vm, false, NULL};
    GThread *thread = g_thread_new("stop", stop_in_thread, &stop);
    wait_for_file("pids");
    expect_text("a", "handover.state", "held");
    expect_text("a", "phase", "stopped");
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", taken, NULL), 0);
    cr_assert_eq(vm_cli(&shown, NULL, "show", taken, NULL), 0);
    cr_assert(g_file_set_contents(go, "", 0, NULL));
    g_thread_join(thread);
    must(stop.ok, stop.error);
    expect_counts("a", 1, 0);
    resume(&vm);
    end(&a, &vm);
}

Test(handover, vmm_that_leaves_ends_it)
{
    struct tracker a;
    struct vm vm;
    g_autoptr(GError) error = NULL;

    begin(&a, &vm, HANG, "60");
    vm_disconnect(&vm);
    vm.patience_ms = 300;
    vm_connect(&vm, "a");
    vm_forget_bases(&vm, VM_BASE_USED);
    resume(&vm);
    vm_log(&vm, true);
    cr_assert(!vm_try_stop(&vm, &error));
    wait_for_file("pids");
    vm_disconnect(&vm);
    expect_ended("pids");
    expect_part("a", "handover.error", "the VMM has gone");
    expect_counts("a", 0, 1);

    /* Its VMM was not told where the last ring stood. */
    vm.patience_ms = 0;
    vm_connect(&vm, "a");
    vm_forget_bases(&vm, VM_BASE_USED);
    resume(&vm);
    end(&a, &vm);
}

Test(handover, tracker_that_is_to_end_answers_first)
{
    struct tracker a;
    struct vm vm;

    begin(&a, &vm, HANG, "60");
    vm_log(&vm, true);
    struct stop stop = {&vm, false, NULL};
    GThread *thread = g_thread_new("stop", stop_in_thread, &stop);
    wait_for_file("pids");
    int64_t before = g_get_monotonic_time();
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_lt(g_get_monotonic_time() - before, 1400000);
    g_thread_join(thread);
    must(stop.ok, stop.error);
    expect_ended("pids");
    vm_clear(&vm);
}

/* Stopped without a handover, and going on. */
static void
expect_none(struct vm *vm)
{
    vm_stop(vm);
    expect_counts("a", 0, 0);
    expect_text("a", "handover.state", "none");
    resume(vm);
}

Test(handover, nobody_is_held_who_does_not_migrate)
{
    struct tracker a;
    struct vm vm;

    begin(&a, &vm, "exit 1", "10");
    expect_none(&vm);
    vm_log(&vm, true);
    vm_log(&vm, false);
    expect_none(&vm);

    /* Paused, and then migrated: nothing runs that could be stopped. */
    vm_stop(&vm);
    vm_log(&vm, true);
    vm_stop(&vm);
    expect_counts("a", 0, 0);
    end(&a, &vm);
}

Test(handover, nobody_is_held_whose_stream_carries_the_state)
{
    struct tracker a;
    struct vm vm;

    begin(&a, &vm, "exit 1", "10");
    vm_disconnect(&vm);
    vm.without = 0;
    vm_connect(&vm, "a");
    vm_forget_bases(&vm, VM_BASE_USED);
    resume(&vm);
    vm_log(&vm, true);
    expect_none(&vm);
    end(&a, &vm);
}

Test(handover, state_that_cannot_be_carried_is_not_handed_over)
{
    struct tracker a, c;
    struct vm vm;
    GError *error = NULL;

    begin(&a, &vm, "true", "10");
    tracker_start(&c, "c", "sim:loop", (const char *[]){"--handover", "true", NULL});
    vm_stop(&vm);
    move_to(&vm, "c");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    expect_text("c", "arrival", "stateless");
    vm_log(&vm, true);
    vm_stop(&vm);
    expect_part("c", "handover.error", "came here without its control state");
    expect_counts("c", 0, 1);
    cr_assert_eq(tracker_end(&c), 0);
    end(&a, &vm);
}
