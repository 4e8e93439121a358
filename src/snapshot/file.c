/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "snapshot/snapshot.h"

#define READ_STEP 65536u

static bool G_GNUC_PRINTF(2, 3) fail(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, why);
    return false;
}

static bool
write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t) n;
    }
    return true;
}

static bool
sync_file(int fd)
{
    int rc;

    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc == 0;
}

static bool
write_stdout(const uint8_t *bytes, size_t len, GError **error)
{
    return write_all(STDOUT_FILENO, bytes, len) ||
           fail(error, "cannot write the snapshot to standard output: %s", g_strerror(errno));
}

/* A name beside the target that nobody has; O_EXCL makes sure. */
static char *
temporary_name(const char *base)
{
    return g_strdup_printf(".%.200s.%08x", base, g_random_int());
}

static bool
write_temporary(int dir, const char *temporary, const uint8_t *bytes, size_t len, const char *path,
                GError **error)
{
    VDT_AUTO_FD fd =
        openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail(error, "cannot make a file beside %s: %s; nothing was written", path,
                    g_strerror(errno));
    if (write_all(fd, bytes, len) && sync_file(fd))
        return true;
    fail(error, "cannot write the snapshot for %s: %s; what was there before is unchanged", path,
         g_strerror(errno));
    unlinkat(dir, temporary, 0);
    return false;
}

static bool
write_file(const char *path, const uint8_t *bytes, size_t len, GError **error)
{
    g_autofree char *dir_name = g_path_get_dirname(path);
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *temporary = temporary_name(base);
    VDT_AUTO_FD dir = open(dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    if (g_str_has_suffix(path, "/"))
        return fail(error, "%s names a directory, not a file for a snapshot", path);
    if (dir < 0)
        return fail(error, "cannot open the directory %s for a snapshot: %s", dir_name,
                    g_strerror(errno));
    /* rename() would put a file in the place of a device node or a socket just as well. */
    if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        return fail(error, "%s exists and is no regular file; nothing was written", path);
    if (!write_temporary(dir, temporary, bytes, len, path, error))
        return false;
    if (renameat(dir, temporary, dir, base) < 0) {
        fail(error, "cannot move the snapshot to %s: %s; what was there before is unchanged", path,
             g_strerror(errno));
        unlinkat(dir, temporary, 0);
        return false;
    }
    /* From here on the new file stands, but a power failure may take it back. */
    if (!sync_file(dir))
        return fail(error, "%s was written, but its directory could not be synced: %s", path,
                    g_strerror(errno));
    return true;
}

bool
vdt_snapshot_save(const struct vdt_snapshot *snapshot, const char *path, GError **error)
{
    return vdt_snapshot_save_as(snapshot, path, 0, error);
}

bool
vdt_snapshot_save_as(const struct vdt_snapshot *snapshot, const char *path, unsigned format,
                     GError **error)
{
    g_autoptr(GBytes) encoded = vdt_snapshot_encode_as(snapshot, format, error);
    const uint8_t *bytes;
    gsize len;

    if (!encoded)
        return false;
    bytes = g_bytes_get_data(encoded, &len);
    return strcmp(path, "-") == 0 ? write_stdout(bytes, len, error)
                                  : write_file(path, bytes, len, error);
}

/* Up to the cap and one byte more, so that what is too long shows. */
static GByteArray *
read_all(int fd, const char *name, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    while (bytes->len <= VDT_SNAPSHOT_BYTES_MAX) {
        guint old = bytes->len;
        guint step = MIN(READ_STEP, VDT_SNAPSHOT_BYTES_MAX + 1 - old);
        g_byte_array_set_size(bytes, old + step);
        ssize_t n = read(fd, bytes->data + old, step);
        int reason = errno;
        g_byte_array_set_size(bytes, old + (n > 0 ? (guint) n : 0));
        if (n == 0)
            return g_steal_pointer(&bytes);
        if (n < 0 && reason != EINTR) {
            fail(error, "cannot read a snapshot from %s: %s", name, g_strerror(reason));
            return NULL;
        }
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "%s is longer than a snapshot can be (%u bytes); it was not read further", name,
                VDT_SNAPSHOT_BYTES_MAX);
    return NULL;
}

/* O_NONBLOCK: opening a FIFO or a device node must not wait before we have seen what it is. */
static int
open_file(const char *path, GError **error)
{
    VDT_AUTO_FD fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 && errno == ELOOP) {
        fail(error, "%s is a symbolic link, which is not followed to a snapshot", path);
        return -1;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        fail(error, "cannot open the snapshot %s: %s", path, g_strerror(errno));
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        fail(error, "%s is no regular file, so it is not read as a snapshot", path);
        return -1;
    }
    return vdt_steal_fd(&fd);
}

struct vdt_snapshot *
vdt_snapshot_load(const char *path, GError **error)
{
    bool piped = strcmp(path, "-") == 0;
    const char *name = piped ? "standard input" : path;
    VDT_AUTO_FD fd = piped ? -1 : open_file(path, error);

    if (!piped && fd < 0)
        return NULL;
    g_autoptr(GByteArray) bytes = read_all(piped ? STDIN_FILENO : fd, name, error);
    if (!bytes)
        return NULL;
    struct vdt_snapshot *snapshot = vdt_snapshot_decode(bytes->data, bytes->len, error);
    if (!snapshot)
        g_prefix_error(error, "%s: ", name);
    return snapshot;
}
