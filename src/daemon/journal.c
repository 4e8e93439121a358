/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"
#include "memory/sigbus.h"
#include "snapshot/frame.h"

/*
 *   0 u64 number   8 u64 checksum   16 "VDTJ"   20 u16 version   22 u16 flags
 *   24 u32 config length   28 u32 snapshot length   32 u16 cvq before   34 u16 cvq after
 *   36 config space   ... snapshot, framed
 *
 * Little-endian. The checksum is over everything from 16 on, seeded with the number.
 */
#define MAGIC "VDTJ"
#define VERSION 1u
#define AT_CHECKSUM 8u
#define AT_MAGIC 16u
#define AT_VERSION 20u
#define AT_FLAGS 22u
#define AT_CONFIG_LEN 24u
#define AT_SNAPSHOT_LEN 28u
#define AT_CVQ 32u
#define AT_CONFIG 36u
#define AT_SNAPSHOT (AT_CONFIG + VDT_CONFIG_MAX)

#define FLAG_CVQ 1u
#define FLAGS FLAG_CVQ

struct vdt_journal {
    char *path; /* owned */
    uint8_t *map;
    struct vdt_sigbus_guard *guard;
    uint64_t number; /* of the newest slot; slot number % 2 */
    uint8_t scratch[VDT_JOURNAL_SLOT];
};

struct vdt_journal_record *
vdt_journal_record_new(void)
{
    return g_new0(struct vdt_journal_record, 1);
}

void
vdt_journal_record_free(struct vdt_journal_record *record)
{
    if (!record)
        return;
    vdt_snapshot_free(record->snapshot);
    g_free(record);
}

/* --- the file --- */

static char *
unfit(int fd, const char *path, uint64_t size)
{
    struct stat st;

    if (fd < 0)
        return errno == ELOOP ? g_strdup_printf("%s is a symbolic link", path)
                              : g_strdup_printf("%s cannot be opened: %s", path, g_strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return g_strdup_printf("%s is no regular file", path);
    if (st.st_uid != geteuid())
        return g_strdup_printf("%s belongs to user %u", path, (unsigned) st.st_uid);
    if (st.st_nlink != 1 || st.st_mode & 077)
        return g_strdup_printf("%s can be reached by others", path);
    /* An empty one was being made. */
    if (st.st_size != 0 && (uint64_t) st.st_size != size)
        return g_strdup_printf("%s has %" G_GINT64_FORMAT " bytes and not %" G_GUINT64_FORMAT, path,
                               (gint64) st.st_size, size);
    return NULL;
}

int
vdt_journal_file(const char *path, uint64_t size, char **ret_problem, GError **error)
{
    VDT_AUTO_FD fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    *ret_problem = fd < 0 && errno == ENOENT ? NULL : unfit(fd, path, size);
    if (*ret_problem) {
        /* Not through it: what stands at this name goes, whatever it leads to stays. */
        fd = vdt_close(fd);
        unlink(path);
    }
    if (fd < 0)
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* Memory that is not there would be a fault at some later store. */
    int code = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t) size);
    if (code == 0)
        return vdt_steal_fd(&fd);
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot make %s: %s", path, g_strerror(code));
    if (fd >= 0)
        unlink(path);
    return -1;
}

/* --- what is there --- */

static uint64_t
checksum(const uint8_t *slot, size_t len, uint64_t number)
{
    return XXH3_64bits_withSeed(slot + AT_MAGIC, len - AT_MAGIC, number);
}

/* A slot that was never written, or whose writer was killed at it, is nobody's fault: NULL without
 * @error. Anything else that does not fit is told. */
static struct vdt_journal_record *
read_slot(const uint8_t *slot, const char *name, uint64_t *ret_number, GError **error)
{
    uint64_t number = vdt_get64(slot);
    uint32_t config_len = vdt_get32(slot + AT_CONFIG_LEN), len = vdt_get32(slot + AT_SNAPSHOT_LEN);
    unsigned version = vdt_get16(slot + AT_VERSION), flags = vdt_get16(slot + AT_FLAGS);

    if (number == 0)
        return NULL;
    if (memcmp(slot + AT_MAGIC, MAGIC, 4) != 0) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID, "it is no journal");
        return NULL;
    }
    if (version != VERSION) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "it is of version %u, this program writes %u", version, VERSION);
        return NULL;
    }
    if (len > VDT_JOURNAL_SLOT - AT_SNAPSHOT || config_len > VDT_CONFIG_MAX || flags & ~FLAGS ||
        vdt_get64(slot + AT_CHECKSUM) != checksum(slot, AT_SNAPSHOT + len, number)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID, "its checksum does not fit");
        return NULL;
    }

    VDT_AUTO(journal_record) record = vdt_journal_record_new();
    record->config_len = config_len;
    memcpy(record->config, slot + AT_CONFIG, VDT_CONFIG_MAX);
    record->cvq_known = flags & FLAG_CVQ;
    record->cvq_before = vdt_get16(slot + AT_CVQ);
    record->cvq_after = vdt_get16(slot + AT_CVQ + 2);
    if (len > 0) {
        record->snapshot = vdt_snapshot_decode(slot + AT_SNAPSHOT, len, error);
        if (!record->snapshot)
            return NULL;
        if (strcmp(record->snapshot->name, name) != 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "it is of the tracker \"%s\"",
                        record->snapshot->name);
            return NULL;
        }
    }
    *ret_number = number;
    return g_steal_pointer(&record);
}

/* The newer of the two that can be read. */
static struct vdt_journal_record *
read_slots(struct vdt_journal *journal, const char *name, char **ret_problem)
{
    VDT_AUTO(journal_record) newest = NULL;
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < 2; i++) {
        uint64_t number = 0;
        /* One look, then the copy. */
        memcpy(journal->scratch, journal->map + (size_t) i * VDT_JOURNAL_SLOT, VDT_JOURNAL_SLOT);
        VDT_AUTO(journal_record)
        record = read_slot(journal->scratch, name, &number, error ? NULL : &error);
        if (!record || number <= journal->number)
            continue;
        journal->number = number;
        vdt_journal_record_free(newest);
        newest = g_steal_pointer(&record);
    }
    if (error && !*ret_problem)
        *ret_problem = g_strdup_printf("%s: %s%s", journal->path, error->message,
                                       newest ? " (one of its two slots; the other counts)" : "");
    return g_steal_pointer(&newest);
}

struct vdt_journal *
vdt_journal_open(const char *path, const char *name, struct vdt_journal_record **ret_record,
                 char **ret_problem, GError **error)
{
    const size_t size = 2 * (size_t) VDT_JOURNAL_SLOT;
    VDT_AUTO_FD fd = vdt_journal_file(path, size, ret_problem, error);

    *ret_record = NULL;
    if (fd < 0)
        return NULL;
    uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot map %s: %s", path,
                    g_strerror(errno));
        unlink(path); /* the guest goes on without, and it would be older than the guest */
        return NULL;
    }
    struct vdt_sigbus_guard *guard = vdt_sigbus_guard_add(map, size, vdt_fd_page_size(fd), error);
    if (!guard) {
        munmap(map, size);
        unlink(path);
        return NULL;
    }
    struct vdt_journal *journal = g_new0(struct vdt_journal, 1);
    journal->path = g_strdup(path);
    journal->map = map;
    journal->guard = guard;
    VDT_AUTO(journal_record) record = read_slots(journal, name, ret_problem);
    if (record && record->snapshot)
        *ret_record = g_steal_pointer(&record);
    return journal;
}

void
vdt_journal_close(struct vdt_journal *journal, bool keep)
{
    if (!journal)
        return;
    vdt_sigbus_guard_remove(journal->guard);
    munmap(journal->map, 2 * (size_t) VDT_JOURNAL_SLOT);
    if (!keep)
        unlink(journal->path);
    g_free(journal->path);
    g_free(journal);
}

/* --- what we write --- */

bool
vdt_journal_write(struct vdt_journal *journal, const struct vdt_journal_record *record,
                  GError **error)
{
    g_autoptr(GBytes) bytes = NULL;
    const uint8_t *snapshot = NULL;
    size_t len = 0;

    if (record->snapshot) {
        bytes = vdt_snapshot_encode(record->snapshot, error);
        if (!bytes)
            return false;
        snapshot = g_bytes_get_data(bytes, &len);
    }
    if (len > VDT_JOURNAL_SLOT - AT_SNAPSHOT) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "the state takes %zu bytes, a slot of the journal holds %u", len,
                    VDT_JOURNAL_SLOT - AT_SNAPSHOT);
        return false;
    }

    uint8_t *draft = journal->scratch;
    uint64_t number = journal->number + 1;
    memset(draft, 0, AT_SNAPSHOT);
    memcpy(draft + AT_MAGIC, MAGIC, 4);
    vdt_put16(draft + AT_VERSION, VERSION);
    vdt_put16(draft + AT_FLAGS, record->cvq_known ? FLAG_CVQ : 0);
    vdt_put32(draft + AT_CONFIG_LEN, record->config_len);
    vdt_put32(draft + AT_SNAPSHOT_LEN, (uint32_t) len);
    vdt_put16(draft + AT_CVQ, record->cvq_before);
    vdt_put16(draft + AT_CVQ + 2, record->cvq_after);
    memcpy(draft + AT_CONFIG, record->config, VDT_CONFIG_MAX);
    if (len > 0)
        memcpy(draft + AT_SNAPSHOT, snapshot, len);
    len += AT_SNAPSHOT;
    vdt_put64(draft + AT_CHECKSUM, checksum(draft, len, number));

    /* No more than the compiler's order: a process that is killed leaves what its stores did. */
    uint8_t *slot = journal->map + (number % 2) * VDT_JOURNAL_SLOT;
    vdt_store64(slot, 0);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    memcpy(slot + AT_CHECKSUM, draft + AT_CHECKSUM, len - AT_CHECKSUM);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    vdt_store64(slot, number);
    if (vdt_sigbus_guard_hit(journal->guard)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "%s was cut short by somebody else",
                    journal->path);
        return false;
    }
    journal->number = number;
    return true;
}

uint64_t
vdt_journal_number(const struct vdt_journal *journal)
{
    return journal->number;
}
