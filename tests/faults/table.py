# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calls that are made to fail, and what with.

CALLS: call, what its kind is taken from (supervise.h), and by kind ("*": any other) the errnos that it can fail with. A kind without errnos is a place to be killed at, no more.

Not in the table, and so neither watched nor counted:
  futex, restart_syscall, rt_sigreturn   waits and returns inside of libc; no caller sees an error
  exit, exit_group                       do not return
  rt_sigaction, rt_sigprocmask, prctl, set_robust_list, rseq, sched_*, clock_*, get*id, arch_prctl
                                         cannot fail with any of the five for arguments that hold
  execve                                 before main()
"""

ALL = 'EIO ENOMEM ENOSPC EINTR EMFILE'
# An eventfd, a socket that never waits: no disk behind it, nothing to fill.
MEMORY = {'*': 'ENOMEM'}
NEW_FD = {'*': 'ENOMEM EMFILE'}
FILE = {'*': 'EIO ENOMEM'}

CALLS = [
    ('openat', 'path1', {'*': ALL}),
    ('open', 'path0', {'*': ALL}),
    # eventfds never wait here (EFD_NONBLOCK) and have nothing that could break: a signal is all.
    ('read', 'fd', {'eventfd': 'EINTR', 'timerfd': 'EINTR', '*': 'EIO ENOMEM EINTR'}),
    ('write', 'fd', {'eventfd': 'EINTR', 'proc': 'EIO', '*': 'EIO ENOMEM ENOSPC EINTR'}),
    ('readv', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('writev', 'fd', {'*': 'EIO ENOMEM ENOSPC EINTR'}),
    ('pread64', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('pwrite64', 'fd', {'*': 'EIO ENOMEM ENOSPC EINTR'}),
    # Linux closes the descriptor whatever it answers; a call that is not made at all would not.
    ('close', 'fd', {}),
    ('fstat', 'fd', FILE),
    ('newfstatat', 'path1', FILE),
    ('statx', 'path1', FILE),
    ('stat', 'path0', FILE),
    ('lstat', 'path0', FILE),
    ('access', 'path0', FILE),
    ('faccessat', 'path1', FILE),
    ('faccessat2', 'path1', FILE),
    ('readlink', 'path0', FILE),
    ('readlinkat', 'path1', FILE),
    ('getdents64', 'fd', FILE),
    ('lseek', 'fd', {'*': 'EIO'}),
    ('fsync', 'fd', {'*': 'EIO ENOMEM ENOSPC EINTR'}),
    ('fdatasync', 'fd', {'*': 'EIO ENOMEM ENOSPC EINTR'}),
    ('ftruncate', 'fd', {'*': 'EIO ENOMEM ENOSPC EINTR'}),
    ('fallocate', 'fd', {'*': 'EIO ENOMEM ENOSPC EINTR'}),
    # By operation. F_DUPFD, F_DUPFD_CLOEXEC; reading and writing of flags cannot fail.
    ('fcntl', 'op', {'0': 'ENOMEM EMFILE', '1030': 'ENOMEM EMFILE'}),
    ('flock', 'fd', {'*': 'ENOMEM EINTR'}),
    ('dup', 'fd', NEW_FD),
    ('dup2', 'fd', NEW_FD),
    ('dup3', 'fd', NEW_FD),
    ('pipe2', 'none', NEW_FD),
    ('eventfd2', 'none', NEW_FD),
    ('epoll_create1', 'none', NEW_FD),
    # EPOLL_CTL_ADD; the others need no memory.
    ('epoll_ctl', 'op', {'1': 'ENOMEM ENOSPC'}),
    ('epoll_wait', 'fd', {'*': 'EINTR'}),
    ('epoll_pwait', 'fd', {'*': 'EINTR'}),
    ('poll', 'none', {'*': 'ENOMEM EINTR'}),
    ('ppoll', 'none', {'*': 'ENOMEM EINTR'}),
    ('memfd_create', 'path0', NEW_FD),
    ('mmap', 'none', MEMORY),
    ('munmap', 'none', {}),
    ('mprotect', 'none', MEMORY),
    ('mremap', 'none', MEMORY),
    # Its failure is no errno: it answers where the heap ends.
    ('brk', 'none', {}),
    ('madvise', 'none', {'*': 'ENOMEM EIO'}),
    ('mlock', 'none', MEMORY),
    ('clone', 'none', MEMORY),
    ('clone3', 'none', MEMORY),
    ('socket', 'none', NEW_FD),
    ('socketpair', 'none', NEW_FD),
    ('bind', 'fd', {'*': 'EIO ENOMEM ENOSPC'}),
    ('listen', 'fd', MEMORY),
    ('connect', 'fd', {'*': 'ENOMEM EINTR'}),
    ('accept', 'fd', {'*': 'ENOMEM EINTR EMFILE'}),
    ('accept4', 'fd', {'*': 'ENOMEM EINTR EMFILE'}),
    ('getsockopt', 'fd', MEMORY),
    ('setsockopt', 'fd', MEMORY),
    ('getsockname', 'fd', MEMORY),
    ('getpeername', 'fd', MEMORY),
    ('shutdown', 'fd', MEMORY),
    ('sendmsg', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('recvmsg', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('sendto', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('recvfrom', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('rename', 'path0', {'*': 'EIO ENOMEM ENOSPC'}),
    ('renameat', 'path1', {'*': 'EIO ENOMEM ENOSPC'}),
    ('renameat2', 'path1', {'*': 'EIO ENOMEM ENOSPC'}),
    ('unlink', 'path0', FILE),
    ('unlinkat', 'path1', FILE),
    ('linkat', 'path1', {'*': 'EIO ENOMEM ENOSPC'}),
    ('mkdir', 'path0', {'*': 'EIO ENOMEM ENOSPC'}),
    ('mkdirat', 'path1', {'*': 'EIO ENOMEM ENOSPC'}),
    ('chmod', 'path0', FILE),
    ('fchmod', 'fd', FILE),
    ('ioctl', 'fd', {'*': 'EIO ENOMEM EINTR'}),
    ('timerfd_create', 'none', NEW_FD),
    # Fails for wrong arguments alone.
    ('timerfd_settime', 'fd', {}),
    ('signalfd4', 'fd', NEW_FD),
    ('wait4', 'none', {'*': 'EINTR'}),
    ('prlimit64', 'none', {}),
    ('getrandom', 'none', {'*': 'EINTR'}),
]

# What GLib ends the process for, by design, with a message that says it: nobody who uses GDBus can
# keep it from doing so. Such a run is held to what is asked of one that was killed there.
LIBRARY_ENDS = [
    # Both threads are GDBus's, and made before a tracker serves anybody.
    (r"GLib-ERROR .* creating thread '(gmain|gdbus)'", 'g_thread_new() has no error'),
    (r'GLib-ERROR .* failed to allocate \d+ bytes', 'g_malloc() has no error'),
    (r'GLib-ERROR .* Creating pipes for GWakeup', 'neither eventfd nor pipe'),
]


# How else the failure of a call is named than by the errno's own words.
NAMED = [
    # pthread_create() has one word for all that a thread lacks.
    (r'^(clone3?|mmap|mprotect)$', r'Resource temporarily unavailable'),
    # g_mkdir_with_parents() looks whether it is there, and says what mkdir() says then.
    (r'^(newfstatat|stat|statx)$', r'the runtime directory .* cannot be made'),
    (r'^(newfstatat|fstat|statx)$', r'does not lie in the file that came with it'),
    # GDBus keeps the reason to itself; its peer sees a connection that ends.
    (r'^(recvmsg|sendmsg|recvfrom|sendto|getsockopt|getpeername|accept|clone3|mmap|mprotect)$',
     r'the connection to the tracker broke|tracker source cannot be reached'),
]


def errnos(call, kind):
    """Errnos of one call on one kind of descriptor, as a list."""
    for name, _, by_kind in CALLS:
        if name == call:
            return by_kind.get(kind, by_kind.get('*', '')).split()
    return []
