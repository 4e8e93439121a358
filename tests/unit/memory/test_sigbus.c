/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "memory/sigbus.h"

VDT_SUITE(sigbus);

#define PAGE 4096u

static uint8_t *
map_of_empty_file(size_t len)
{
    VDT_AUTO_FD fd = vdt_memfd("empty", 0, NULL);
    void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    cr_assert_neq(map, MAP_FAILED);
    return map;
}

Test(sigbus, fault_in_a_guarded_mapping_reads_zero_and_hits_its_guard)
{
    uint8_t *a = map_of_empty_file(4 * PAGE), *b = map_of_empty_file(PAGE);
    struct vdt_sigbus_guard *guard_a = vdt_sigbus_guard_add(a, 4 * PAGE, PAGE, NULL);
    struct vdt_sigbus_guard *guard_b = vdt_sigbus_guard_add(b, PAGE, PAGE, NULL);

    cr_assert_eq(*(volatile uint8_t *) (a + 4 * PAGE - 1), 0);
    a[0] = 7;
    cr_assert_eq(*(volatile uint8_t *) a, 7);
    cr_assert(vdt_sigbus_guard_hit(guard_a));
    cr_assert_not(vdt_sigbus_guard_hit(guard_b));
    vdt_sigbus_guard_remove(guard_a);
    vdt_sigbus_guard_remove(guard_b);
    munmap(a, 4 * PAGE);
    munmap(b, PAGE);
}

static sigjmp_buf escape;

static void
jump(int sig)
{
    siglongjmp(escape, 1);
}

static siginfo_t seen;

static void
note_and_jump(int sig, siginfo_t *info, void *context)
{
    seen = *info;
    siglongjmp(escape, 1);
}

Test(sigbus, fault_elsewhere_goes_to_the_handler_that_was_there_before)
{
    uint8_t *guarded = map_of_empty_file(PAGE), *other = map_of_empty_file(PAGE);
    volatile bool jumped = false;

    signal(SIGBUS, jump);
    struct vdt_sigbus_guard *guard = vdt_sigbus_guard_add(guarded, PAGE, PAGE, NULL);
    if (sigsetjmp(escape, 1) == 0)
        *(volatile uint8_t *) other = 1;
    else
        jumped = true;
    cr_assert(jumped);
    cr_assert_not(vdt_sigbus_guard_hit(guard));
    vdt_sigbus_guard_remove(guard);
    munmap(guarded, PAGE);
    munmap(other, PAGE);
}

Test(sigbus, previous_handler_with_siginfo_gets_the_address)
{
    uint8_t *guarded = map_of_empty_file(PAGE), *other = map_of_empty_file(PAGE);
    struct sigaction action = {.sa_sigaction = note_and_jump, .sa_flags = SA_SIGINFO};

    sigaction(SIGBUS, &action, NULL);
    struct vdt_sigbus_guard *guard = vdt_sigbus_guard_add(guarded, PAGE, PAGE, NULL);
    /* A removed guard catches nothing any more. */
    vdt_sigbus_guard_remove(guard);
    if (sigsetjmp(escape, 1) == 0)
        *(volatile uint8_t *) guarded = 1;
    cr_assert_eq(seen.si_addr, guarded);
    munmap(guarded, PAGE);
    munmap(other, PAGE);
}

/* Signal that ended a child which ran @body, 0 when it left by itself. */
static int
death_of(void (*body)(void))
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        alarm(10);
        signal(SIGBUS, SIG_DFL);
        body();
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
fault_elsewhere(void)
{
    uint8_t *guarded = map_of_empty_file(PAGE), *other = map_of_empty_file(PAGE);

    vdt_sigbus_guard_add(guarded, PAGE, PAGE, NULL);
    *(volatile uint8_t *) other = 1;
}

static void
sent_by_somebody(void)
{
    uint8_t *guarded = map_of_empty_file(PAGE);

    vdt_sigbus_guard_add(guarded, PAGE, PAGE, NULL);
    kill(getpid(), SIGBUS);
}

Test(sigbus, other_causes_end_the_process_as_ever)
{
    cr_assert_eq(death_of(fault_elsewhere), SIGBUS);
    cr_assert_eq(death_of(sent_by_somebody), SIGBUS);
}

Test(sigbus, guards_run_out_with_an_error)
{
    static struct vdt_sigbus_guard *all[VDT_GUARDS_MAX];
    static uint8_t bytes[VDT_GUARDS_MAX];
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < VDT_GUARDS_MAX; i++) {
        all[i] = vdt_sigbus_guard_add(&bytes[i], 1, PAGE, NULL);
        cr_assert(all[i]);
    }
    cr_assert_null(vdt_sigbus_guard_add(bytes, 1, PAGE, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED));
    vdt_sigbus_guard_remove(all[7]);
    all[7] = vdt_sigbus_guard_add(&bytes[7], 1, PAGE, NULL);
    cr_assert(all[7]);
    for (unsigned i = 0; i < VDT_GUARDS_MAX; i++)
        vdt_sigbus_guard_remove(all[i]);
    vdt_sigbus_guard_remove(NULL);
}
