/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory/sigbus.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

/* @start is what the handler matches: stored last when a guard is made, cleared first when it goes.
 * All fields are atomics since the handler runs beside add() and remove() of other guards. */
struct vdt_sigbus_guard {
    uintptr_t start; /* 0: free */
    size_t len, page;
    bool hit;
};

static struct vdt_sigbus_guard guards[VDT_GUARDS_MAX];
static unsigned guards_end; /* no guard was ever at or behind it */
/* Not a GMutex: TSan cannot see into GLib. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool installed; /* under @lock */
static struct sigaction previous;

/* False when the kernel refuses; then the fault is nobody's. */
static bool
cover(struct vdt_sigbus_guard *guard, uintptr_t start, uintptr_t fault)
{
    size_t len = __atomic_load_n(&guard->len, __ATOMIC_RELAXED);
    size_t page = __atomic_load_n(&guard->page, __ATOMIC_RELAXED);
    uintptr_t from = fault & ~(page - 1);
    void *p;

    p = mmap((void *) from, start + len - from, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    __atomic_store_n(&guard->hit, true, __ATOMIC_RELEASE);
    return true;
}

static bool
ours(uintptr_t fault)
{
    unsigned end = __atomic_load_n(&guards_end, __ATOMIC_ACQUIRE);

    for (unsigned i = 0; i < end; i++) {
        uintptr_t start = __atomic_load_n(&guards[i].start, __ATOMIC_ACQUIRE);

        /* The guard of an address that somebody touches right now stays; only others come and go,
         * and those do not match. */
        if (start && fault >= start &&
            fault - start < __atomic_load_n(&guards[i].len, __ATOMIC_RELAXED))
            return cover(&guards[i], start, fault);
    }
    return false;
}

/* Async-signal-safe: atomics and system calls only. */
static void
handle(int sig, siginfo_t *info, void *context)
{
    int saved = errno;

    /* BUS_ADRERR alone means "no such page in the file"; broken hardware is not for us to hide. */
    if (info->si_code == BUS_ADRERR && ours((uintptr_t) info->si_addr)) {
        errno = saved;
        return;
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(sig, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(sig);
    } else if (previous.sa_handler == SIG_DFL || info->si_code > 0) {
        /* Blocked until we return, then it ends the process as it would have without us. */
        signal(sig, SIG_DFL);
        raise(sig);
    }
    errno = saved;
}

static void
install(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (installed)
        return;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, NULL, &previous);
    sigaction(SIGBUS, &action, NULL);
    installed = true;
}

struct vdt_sigbus_guard *
vdt_sigbus_guard_add(void *addr, size_t len, size_t page, GError **error)
{
    unsigned i;

    pthread_mutex_lock(&lock);
    install();
    for (i = 0; i < VDT_GUARDS_MAX && guards[i].start; i++)
        ;
    if (i == VDT_GUARDS_MAX) {
        pthread_mutex_unlock(&lock);
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "cannot guard one more mapping against a peer that shortens its file: %u are "
                    "guarded already, so it stays unmapped",
                    VDT_GUARDS_MAX);
        return NULL;
    }
    __atomic_store_n(&guards[i].len, len, __ATOMIC_RELAXED);
    __atomic_store_n(&guards[i].page, page, __ATOMIC_RELAXED);
    __atomic_store_n(&guards[i].hit, false, __ATOMIC_RELAXED);
    __atomic_store_n(&guards[i].start, (uintptr_t) addr, __ATOMIC_RELEASE);
    if (i >= guards_end)
        __atomic_store_n(&guards_end, i + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
    return &guards[i];
}

void
vdt_sigbus_guard_remove(struct vdt_sigbus_guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&lock);
    __atomic_store_n(&guard->start, 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&lock);
}

bool
vdt_sigbus_guard_hit(const struct vdt_sigbus_guard *guard)
{
    return __atomic_load_n(&guard->hit, __ATOMIC_ACQUIRE);
}

size_t
vdt_fd_page_size(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
        return (size_t) fs.f_bsize;
    return (size_t) sysconf(_SC_PAGESIZE);
}
