/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "daemon/journal.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"
#include "virtio/features.h"

VDT_SUITE(journal);

#define FILE_SIZE (2u * VDT_JOURNAL_SLOT)
#define NOTHING UINT32_MAX
#define FLAWED (UINT32_MAX - 1)

struct stand {
    char *dir, *path;
};

static void
init(struct stand *stand)
{
    stand->dir = g_dir_make_tmp("vdt-XXXXXX", NULL);
    stand->path = g_build_filename(stand->dir, "web.journal", NULL);
}

static void
clear(struct stand *stand)
{
    g_unlink(stand->path);
    g_rmdir(stand->dir);
    g_free(stand->dir);
    g_free(stand->path);
}

/* A state that is told from others by @number. */
static struct vdt_journal_record *
state(uint32_t number)
{
    struct vdt_journal_record *record = vdt_journal_record_new();
    struct vdt_snapshot *snapshot = record->snapshot = vdt_snapshot_new();

    snapshot->live = true;
    snapshot->device_id = 1;
    g_free(snapshot->name);
    snapshot->name = g_strdup("web");
    snapshot->net.set = VDT_NET_MAC | VDT_NET_VLAN;
    vdt_put32(snapshot->net.mac + 2, number);
    vdt_vlan_set(snapshot->net.vlan, number % 4096, true);
    record->config_len = 12;
    vdt_put32(record->config, number);
    record->cvq_known = true;
    record->cvq_before = (uint16_t) number;
    record->cvq_after = (uint16_t) (number + 1);
    return record;
}

static void
put(struct vdt_journal *journal, uint32_t number)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(journal_record) record = state(number);

    bool ok = vdt_journal_write(journal, record, &error);
    cr_assert(ok, "%s", error ? error->message : "");
}

/* All of a record is of one state, and that is this. */
static uint32_t
number_of(const struct vdt_journal_record *record)
{
    uint32_t number = vdt_get32(record->snapshot->net.mac + 2);

    cr_assert_eq(vdt_get32(record->config), number);
    cr_assert_eq(record->cvq_before, (uint16_t) number);
    cr_assert_eq(record->cvq_after, (uint16_t) (number + 1));
    cr_assert(record->cvq_known && record->config_len == 12);
    cr_assert(vdt_vlan_test(record->snapshot->net.vlan, number % 4096));
    return number;
}

/* What the next tracker finds; the file stays. @ret_problem may be NULL where none is expected. */
static uint32_t
find(const struct stand *stand, char **ret_problem)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *problem = NULL;
    VDT_AUTO(journal_record) record = NULL;
    struct vdt_journal_record *found = NULL;

    struct vdt_journal *journal = vdt_journal_open(stand->path, "web", &found, &problem, &error);
    record = found;
    cr_assert(journal, "%s", error ? error->message : "");
    vdt_journal_close(journal, true);
    uint32_t number = record ? number_of(record) : problem ? FLAWED : NOTHING;
    if (ret_problem)
        *ret_problem = g_steal_pointer(&problem);
    else
        cr_assert(record ? !problem : true, "%s", problem);
    return number;
}

static struct vdt_journal *
fresh(const struct stand *stand)
{
    struct vdt_journal_record *record;
    g_autofree char *problem = NULL;
    struct vdt_journal *journal = vdt_journal_open(stand->path, "web", &record, &problem, NULL);

    cr_assert(journal && !record && !problem, "%s", problem);
    return journal;
}

static uint8_t *
image(const struct stand *stand)
{
    g_autofree char *bytes = NULL;
    gsize len;

    cr_assert(g_file_get_contents(stand->path, &bytes, &len, NULL));
    cr_assert_eq(len, FILE_SIZE);
    return (uint8_t *) g_steal_pointer(&bytes);
}

static void
lay(const struct stand *stand, const uint8_t *bytes, size_t len)
{
    VDT_AUTO_FD fd = open(stand->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    cr_assert_eq(write(fd, bytes, len), (ssize_t) len);
}

Test(journal, last_state_is_found_by_the_next_tracker)
{
    struct stand stand;
    struct stat st;

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    cr_assert_eq(stat(stand.path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    vdt_journal_close(journal, true);
    cr_expect_eq(find(&stand, NULL), NOTHING);
    for (uint32_t n = 1; n < 8; n++) {
        struct vdt_journal_record *record;
        char *problem;
        journal = vdt_journal_open(stand.path, "web", &record, &problem, NULL);
        cr_assert_null(problem);
        vdt_journal_record_free(record);
        for (uint32_t i = 0; i < n; i++)
            put(journal, 100 * n + i);
        vdt_journal_close(journal, true);
        cr_expect_eq(find(&stand, NULL), 100 * n + n - 1);
    }
    clear(&stand);
}

Test(journal, guest_that_is_gone_and_a_clean_end_leave_nothing)
{
    struct stand stand;
    VDT_AUTO(journal_record) nobody = vdt_journal_record_new();

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 7);
    cr_assert(vdt_journal_write(journal, nobody, NULL));
    cr_expect_eq(find(&stand, NULL), NOTHING);
    vdt_journal_close(journal, false);
    cr_expect_neq(access(stand.path, F_OK), 0);
    clear(&stand);
}

/* The stores of one write in some order, cut after each of them. */
static void
cut_everywhere(const struct stand *stand, const uint8_t *before, const uint8_t *after,
               const uint32_t *order, uint32_t count, uint32_t old, uint32_t new)
{
    g_autofree uint8_t *torn = g_memdup2(before, FILE_SIZE);
    size_t slot = 0;

    while (memcmp(before + slot, after + slot, 8) == 0)
        slot += VDT_JOURNAL_SLOT;
    memset(torn + slot, 0, 8);
    for (uint32_t i = 0; i < count; i++) {
        lay(stand, torn, FILE_SIZE);
        cr_assert_eq(find(stand, NULL), old, "cut after %u stores", i);
        torn[slot + 8 + order[i]] = after[slot + 8 + order[i]];
    }
    lay(stand, torn, FILE_SIZE);
    cr_assert_eq(find(stand, NULL), old, "all but the number");
    /* And the number itself, were it not stored at once. */
    for (unsigned i = 0; i < 8; i++) {
        torn[slot + i] = after[slot + i];
        lay(stand, torn, FILE_SIZE);
        uint32_t found = find(stand, NULL);
        cr_assert(found == old || found == new, "%u bytes of the number: %u", i + 1, found);
    }
    cr_assert_eq(find(stand, NULL), new);
}

Test(journal, write_that_is_cut_at_any_byte_leaves_the_old_state_or_the_new)
{
    struct stand stand;
    g_autofree uint32_t *order = g_new(uint32_t, VDT_JOURNAL_SLOT);
    GRand *rand = g_rand_new_with_seed(1);

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 10);
    put(journal, 11);
    for (unsigned way = 0; way < 3; way++) {
        g_autofree uint8_t *before = image(&stand);
        put(journal, 12 + way);
        g_autofree uint8_t *after = image(&stand);
        size_t slot = memcmp(before, after, 8) ? 0 : VDT_JOURNAL_SLOT, count = 0;
        for (uint32_t i = 8; i < VDT_JOURNAL_SLOT; i++) {
            if (before[slot + i] != after[slot + i] || i < 700)
                order[count++] = i - 8;
        }
        for (uint32_t i = 0; way > 0 && i < count; i++) {
            uint32_t j = way == 1 ? (uint32_t) count - 1 - i
                                  : (uint32_t) g_rand_int_range(rand, 0, (int) count);
            uint32_t swap = order[i];
            if (way == 1 && j <= i)
                break;
            order[i] = order[j];
            order[j] = swap;
        }
        lay(&stand, before, FILE_SIZE);
        cut_everywhere(&stand, before, after, order, (uint32_t) count, 11 + way, 12 + way);
        /* lay() made it anew: the mapping goes on with the same file. */
    }
    vdt_journal_close(journal, false);
    g_rand_free(rand);
    clear(&stand);
}

struct flaw {
    const char *word; /* of what is said */
    void (*make)(const struct stand *stand, uint8_t *bytes);
};

static void
spoil_both(const struct stand *stand, uint8_t *bytes)
{
    bytes[60] ^= 1;
    bytes[VDT_JOURNAL_SLOT + 60] ^= 1;
    lay(stand, bytes, FILE_SIZE);
}

static void
other_version(const struct stand *stand, uint8_t *bytes)
{
    vdt_put16(bytes + 20, 9);
    vdt_put16(bytes + VDT_JOURNAL_SLOT + 20, 9);
    lay(stand, bytes, FILE_SIZE);
}

static void
no_journal(const struct stand *stand, uint8_t *bytes)
{
    memset(bytes, 'x', FILE_SIZE);
    lay(stand, bytes, FILE_SIZE);
}

static void
cut_short(const struct stand *stand, uint8_t *bytes)
{
    lay(stand, bytes, 200);
}

static void
link_away(const struct stand *stand, uint8_t *bytes)
{
    g_autofree char *target = g_build_filename(stand->dir, "target", NULL);

    cr_assert(g_file_set_contents(target, (char *) bytes, FILE_SIZE, NULL));
    g_unlink(stand->path);
    cr_assert_eq(symlink("target", stand->path), 0);
}

static void
let_others_in(const struct stand *stand, uint8_t *bytes)
{
    cr_assert_eq(chmod(stand->path, 0660), 0);
}

static void
second_name(const struct stand *stand, uint8_t *bytes)
{
    g_autofree char *other = g_build_filename(stand->dir, "other", NULL);

    cr_assert_eq(link(stand->path, other), 0);
}

static void
fifo(const struct stand *stand, uint8_t *bytes)
{
    g_unlink(stand->path);
    cr_assert_eq(mkfifo(stand->path, 0600), 0);
}

static const struct flaw flaws[] = {
    {"checksum", spoil_both},           {"version 9", other_version},
    {"no journal", no_journal},         {"has 200 bytes", cut_short},
    {"symbolic link", link_away},       {"reached by others", let_others_in},
    {"reached by others", second_name}, {"no regular file", fifo},
};

Test(journal, what_cannot_be_used_is_named_replaced_and_not_followed)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(flaws); i++) {
        struct stand stand;
        g_autofree char *problem = NULL;

        init(&stand);
        g_autofree char *target = g_build_filename(stand.dir, "target", NULL);
        g_autofree char *other = g_build_filename(stand.dir, "other", NULL);
        struct vdt_journal *journal = fresh(&stand);
        put(journal, 1);
        put(journal, 2);
        vdt_journal_close(journal, true);
        g_autofree uint8_t *bytes = image(&stand);
        g_autofree uint8_t *kept = g_memdup2(bytes, FILE_SIZE);
        flaws[i].make(&stand, bytes);

        cr_expect_eq(find(&stand, &problem), FLAWED, "row %u", i);
        cr_expect(problem && strstr(problem, flaws[i].word), "row %u: %s", i, problem);
        if (flaws[i].make == link_away) {
            g_autofree char *there = NULL;
            cr_assert(g_file_get_contents(target, &there, NULL, NULL));
            cr_expect(memcmp(there, kept, FILE_SIZE) == 0, "what it led to is untouched");
        }
        /* What is there now works. */
        struct vdt_journal_record *record;
        g_autofree char *again = NULL;
        journal = vdt_journal_open(stand.path, "web", &record, &again, NULL);
        cr_assert(journal, "row %u", i);
        cr_expect_null(record);
        put(journal, 3);
        vdt_journal_close(journal, true);
        g_autofree char *last = NULL;
        cr_expect_eq(find(&stand, &last), 3, "row %u", i);
        g_unlink(target);
        g_unlink(other);
        clear(&stand);
    }
}

Test(journal, file_of_another_user_is_not_believed)
{
    struct stand stand;
    g_autofree char *problem = NULL;

    if (geteuid() != 0)
        cr_skip("needs root");
    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 1);
    vdt_journal_close(journal, true);
    cr_assert_eq(chown(stand.path, 1, 1), 0);
    cr_expect_eq(find(&stand, &problem), FLAWED);
    cr_expect(problem && strstr(problem, "belongs to user 1"), "%s", problem);
    clear(&stand);
}

Test(journal, one_damaged_slot_is_told_and_the_other_counts)
{
    struct stand stand;
    g_autofree char *problem = NULL;

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 1);
    put(journal, 2);
    vdt_journal_close(journal, true);
    g_autofree uint8_t *bytes = image(&stand);
    bytes[60] ^= 1; /* the second state, number 2 */
    lay(&stand, bytes, FILE_SIZE);
    cr_expect_eq(find(&stand, &problem), 1);
    cr_expect(problem && strstr(problem, "the other counts"), "%s", problem);
    clear(&stand);
}

Test(journal, state_of_another_tracker_is_not_taken)
{
    struct stand stand;
    g_autofree char *problem = NULL;
    struct vdt_journal_record *record;

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 1);
    vdt_journal_close(journal, true);
    journal = vdt_journal_open(stand.path, "mail", &record, &problem, NULL);
    cr_assert(journal && !record);
    cr_expect(problem && strstr(problem, "\"web\""), "%s", problem);
    vdt_journal_close(journal, false);
    clear(&stand);
}

Test(journal, rubbish_never_harms)
{
    struct stand stand;
    GRand *rand = g_rand_new_with_seed(5);
    unsigned found = 0;

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 1);
    put(journal, 2);
    vdt_journal_close(journal, true);
    g_autofree uint8_t *good = image(&stand);
    for (unsigned i = 0; i < 500; i++) {
        g_autofree uint8_t *bytes = g_memdup2(good, FILE_SIZE);
        g_autofree char *problem = NULL;
        size_t len = i % 5 ? FILE_SIZE : (size_t) g_rand_int_range(rand, 0, FILE_SIZE);
        for (int n = g_rand_int_range(rand, 1, 5); n > 0; n--)
            bytes[g_rand_int_range(rand, 0, 1500) + (g_rand_boolean(rand) ? VDT_JOURNAL_SLOT : 0)] =
                (uint8_t) g_rand_int(rand);
        lay(&stand, bytes, len);
        found += find(&stand, &problem) <= 2;
    }
    cr_expect(found > 0 && found < 500, "%u", found);
    g_rand_free(rand);
    clear(&stand);
}

Test(journal, state_that_does_not_fit_leaves_the_one_before)
{
    struct stand stand;
    g_autoptr(GError) error = NULL;
    VDT_AUTO(journal_record) record = state(9);
    struct vdt_snapshot *snapshot = record->snapshot;

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 8);
    snapshot->live = false;
    snapshot->guest_features = snapshot->offered_features = VDT_BIT(VIRTIO_F_VERSION_1);
    snapshot->ring_count = 1;
    struct vdt_snapshot_ring *ring = &snapshot->rings[0];
    *ring = (struct vdt_snapshot_ring){.num = 32768, .started = true, .exact = true};
    ring->request_count = 32768;
    ring->pos.avail = 32768;
    ring->requests = g_new0(struct vdt_snapshot_request, 32768);
    for (unsigned i = 0; i < 32768; i++)
        ring->requests[i] = (struct vdt_snapshot_request){.id = (uint16_t) (32767 - i), .slots = 1};
    cr_assert_not(vdt_journal_write(journal, record, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED), "%s", error->message);
    cr_expect_eq(find(&stand, NULL), 8);
    vdt_journal_close(journal, false);
    clear(&stand);
}

Test(journal, file_that_is_cut_short_under_us_is_an_error_and_no_end)
{
    struct stand stand;
    g_autoptr(GError) error = NULL;
    VDT_AUTO(journal_record) record = state(2);

    init(&stand);
    struct vdt_journal *journal = fresh(&stand);
    put(journal, 1);
    cr_assert_eq(truncate(stand.path, 0), 0);
    cr_expect_not(vdt_journal_write(journal, record, &error));
    cr_expect(error && strstr(error->message, "cut short"), "%s", error ? error->message : "");
    vdt_journal_close(journal, false);
    clear(&stand);
}

/* Writes states 1, 2, ... and says each as an ack would, until it is killed. */
static _Noreturn void
write_and_tell(struct vdt_journal *journal, int fd)
{
    for (uint32_t n = 1;; n++) {
        put(journal, n);
        if (write(fd, &n, sizeof(n)) != sizeof(n))
            _exit(1);
    }
}

Test(journal, killed_writer_leaves_what_it_has_acknowledged_or_the_next, .timeout = 60)
{
    for (unsigned round = 0; round < 100; round++) {
        struct stand stand;
        int ends[2];
        uint32_t told = 0, n;

        init(&stand);
        struct vdt_journal *journal = fresh(&stand);
        cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0)
            write_and_tell(journal, ends[1]);
        vdt_close(ends[1]);
        for (unsigned i = 0; i <= round % 7 && read(ends[0], &n, sizeof(n)) == sizeof(n); i++)
            told = n;
        if (round % 2)
            g_usleep(37 * (round % 11));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(ends[0], &n, sizeof(n)) == sizeof(n))
            told = n;
        vdt_close(ends[0]);
        uint32_t found = find(&stand, NULL);
        cr_assert(found == told || found == told + 1, "%u acknowledged, %u found", told, found);
        vdt_journal_close(journal, false);
        clear(&stand);
    }
}
