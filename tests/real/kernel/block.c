/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kernel-block: a guest with a disk, behind a tracker on a block device of the kernel's. It writes
 * blocks, each time other bytes, reads them back and compares.
 *
 *   begin SOCKET     a guest on the tracker there
 *   work ROUNDS      every block written and read that often
 *   log on | off     dirty logging; while it is on, what a read has brought has to be marked
 *   quit
 *
 * Every line is answered by one JSON object: "error" when it could not be done.
 */
#include <errno.h>
#include <gio/gio.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/wire.h"
#include "guest/queue.h"
#include "guest/vmm.h"
#include "virtio/features.h"

#define RAM_SIZE (8u << 20)
#define CONNECT_MS 10000
#define PATIENCE_US (30 * G_USEC_PER_SEC)
#define NUM 64u
#define BLOCK 8192u
#define SECTOR 512u
#define BLOCKS 512u
#define SLOTS 16u                   /* requests in flight */
#define SLOT (BLOCK + VDT_RAM_PAGE) /* data; header and status */
#define STATUS_AT sizeof(struct virtio_blk_outhdr)
#define STATUS_RUNNING                                                                             \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |          \
     VIRTIO_CONFIG_S_DRIVER_OK)

struct slot {
    bool busy, read;
    uint32_t block;
};

struct guest {
    struct vdt_ram ram;
    struct vdt_vmm vmm;
    struct vdt_queue queue;
    struct slot slot[SLOTS];
    uint64_t features;
    uint32_t written[BLOCKS]; /* how often: what a block holds follows from that */
    uint64_t requests, wrong, failed, unmarked, calls;
    bool there;
};

static bool
fail(GError **error, const char *what)
{
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED, what);
    return false;
}

static uint32_t
word_of(const struct guest *guest, uint32_t block, uint32_t at)
{
    uint32_t x = block * 2654435761u ^ guest->written[block] * 40503u ^ at * 2246822519u;

    return x ^ x >> 15;
}

static void
fill(const struct guest *guest, uint32_t block, uint8_t *data)
{
    for (uint32_t at = 0; at < BLOCK; at += 4)
        vdt_put32(data + at, word_of(guest, block, at));
}

static bool
holds(const struct guest *guest, uint32_t block, const uint8_t *data)
{
    for (uint32_t at = 0; at < BLOCK; at += 4) {
        if (vdt_get32(data + at) != word_of(guest, block, at))
            return false;
    }
    return true;
}

static uint64_t
slot_gpa(const struct guest *guest, unsigned slot)
{
    return guest->ram.region[1].gpa + slot * SLOT;
}

/* ---- requests ---- */

static void
post(struct guest *guest, unsigned slot, bool read, uint32_t block)
{
    const uint64_t data = slot_gpa(guest, slot), header = data + BLOCK;
    uint8_t *at = vdt_ram_at(&guest->ram, data, SLOT);
    const struct vdt_queue_part data_part = {data, BLOCK, read};
    const struct vdt_queue_part parts[] = {
        {header, STATUS_AT, false}, data_part, {header + STATUS_AT, 1, true}};

    guest->slot[slot] = (struct slot){.busy = true, .read = read, .block = block};
    if (read)
        memset(at, 0xee, BLOCK);
    else
        fill(guest, block, at);
    vdt_put32(at + BLOCK, read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT);
    vdt_put32(at + BLOCK + 4, 0);
    vdt_put64(at + BLOCK + 8, (uint64_t) block * (BLOCK / SECTOR));
    at[BLOCK + STATUS_AT] = 0xff;
    g_assert(vdt_queue_post(&guest->queue, parts, G_N_ELEMENTS(parts), 0, slot));
    vdt_queue_kick(&guest->queue);
    guest->requests++;
}

static bool
marked(const struct guest *guest, uint64_t gpa)
{
    uint64_t page = gpa / VDT_RAM_PAGE;

    return __atomic_load_n(&guest->vmm.log[page / 64], __ATOMIC_ACQUIRE) >> page % 64 & 1;
}

static void
judge(struct guest *guest, const struct vdt_queue_chain *chain)
{
    struct slot *slot = &guest->slot[chain->cookie];
    const uint64_t gpa = slot_gpa(guest, (unsigned) chain->cookie);
    const uint8_t *at = vdt_ram_at(&guest->ram, gpa, SLOT);

    guest->failed += at[BLOCK + STATUS_AT] != VIRTIO_BLK_S_OK;
    guest->wrong += slot->read && !holds(guest, slot->block, at);
    if (guest->vmm.log) {
        guest->unmarked += !marked(guest, gpa + BLOCK);
        for (uint32_t page = 0; slot->read && page < BLOCK; page += VDT_RAM_PAGE)
            guest->unmarked += !marked(guest, gpa + page);
    }
    slot->busy = false;
}

/* Reap until no more than @left are in flight. */
static bool
wait_until(struct guest *guest, uint64_t left, GError **error)
{
    const int64_t end = g_get_monotonic_time() + PATIENCE_US;
    struct vdt_queue_chain chain;
    uint32_t len;

    while (vdt_queue_in_flight(&guest->queue) > left) {
        struct pollfd pollfd = {.fd = guest->queue.call, .events = POLLIN};

        if (vdt_queue_reap(&guest->queue, &chain, &len))
            judge(guest, &chain);
        else if (vdt_queue_broken(&guest->queue))
            return fail(error, vdt_queue_broken(&guest->queue));
        else if (g_get_monotonic_time() > end)
            return fail(error, "requests do not come back");
        else if (!vdt_queue_sleep(&guest->queue) && poll(&pollfd, 1, 1000) > 0) {
            vdt_event_drain(guest->queue.call);
            guest->calls++;
        }
    }
    return true;
}

static bool
all_blocks(struct guest *guest, bool read, GError **error)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        uint32_t block = i * 37 % BLOCKS; /* 37 and BLOCKS share no divisor */
        unsigned slot = 0;

        if (!wait_until(guest, SLOTS - 1, error))
            return false;
        while (guest->slot[slot].busy)
            slot++;
        guest->written[block] += !read;
        post(guest, slot, read, block);
    }
    return wait_until(guest, 0, error);
}

/* ---- steps ---- */

static bool
set_addr(struct guest *guest, bool log, GError **error)
{
    const struct vdt_queue *queue = &guest->queue;
    const struct vhost_user_vring_addr addr = {
        .flags = log ? VHOST_USER_VRING_F_LOG : 0,
        .desc = vdt_ram_frontend(&guest->ram, queue->addr.desc),
        .avail = vdt_ram_frontend(&guest->ram, queue->addr.driver),
        .used = vdt_ram_frontend(&guest->ram, queue->addr.device),
        .log = queue->addr.device,
    };

    return vdt_frontend_set_addr(guest->vmm.frontend, &addr, error);
}

static bool
begin(struct guest *guest, const char *socket, GError **error)
{
    struct vdt_frontend *frontend;
    struct vdt_region_spec specs[VDT_RAM_REGIONS];

    if (guest->there)
        return fail(error, "the guest runs already");
    if (!vdt_ram_init(&guest->ram, RAM_SIZE, error) ||
        !vdt_vmm_connect(&guest->vmm, socket, &guest->ram, CONNECT_MS, error))
        return false;
    guest->there = true;
    guest->features =
        guest->vmm.offered & (VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_RING_F_EVENT_IDX) |
                              VDT_BIT(VIRTIO_BLK_F_SEG_MAX) | VDT_BIT(VIRTIO_BLK_F_BLK_SIZE));
    const struct vdt_ring_format format = vdt_features_ring_format(guest->features, NUM);
    vdt_ram_specs(&guest->ram, specs);
    frontend = guest->vmm.frontend;
    return vdt_queue_init(&guest->queue, 0, &format, &guest->ram,
                          guest->ram.region[0].gpa + 0x10000, error) &&
           vdt_frontend_set_features(frontend, guest->features | guest->vmm.transport, error) &&
           vdt_frontend_set_memory(frontend, specs, VDT_RAM_REGIONS, error) &&
           vdt_frontend_set_num(frontend, 0, NUM, error) &&
           vdt_frontend_set_base(frontend, 0, 0, error) && set_addr(guest, false, error) &&
           vdt_frontend_set_kick(frontend, 0, guest->queue.kick, error) &&
           vdt_frontend_set_call(frontend, 0, guest->queue.call, error) &&
           vdt_frontend_set_status(frontend, STATUS_RUNNING, error) &&
           vdt_frontend_set_enable(frontend, 0, true, error);
}

static bool
log_on(struct guest *guest, GError **error)
{
    struct vdt_vmm *vmm = &guest->vmm;
    const uint64_t size = guest->ram.words * sizeof(uint64_t);

    vmm->log_fd = vdt_memfd("dirty-log", size, error);
    if (vmm->log_fd < 0)
        return false;
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vmm->log_fd, 0);
    if (map == MAP_FAILED)
        return fail(error, g_strerror(errno));
    vmm->log = map;
    return vdt_frontend_set_log(vmm->frontend, vmm->log_fd, 0, size, error) &&
           vdt_frontend_set_features(
               vmm->frontend,
               guest->features | vmm->transport | VHOST_USER_BIT(VHOST_USER_F_LOG_ALL), error) &&
           set_addr(guest, true, error);
}

static bool
log_off(struct guest *guest, GError **error)
{
    struct vdt_vmm *vmm = &guest->vmm;

    if (!vdt_frontend_set_features(vmm->frontend, guest->features | vmm->transport, error) ||
        !set_addr(guest, false, error))
        return false;
    munmap(vmm->log, guest->ram.words * sizeof(uint64_t));
    vmm->log = NULL;
    vmm->log_fd = vdt_close(vmm->log_fd);
    return true;
}

static bool
work(struct guest *guest, unsigned rounds, GError **error)
{
    for (unsigned i = 0; i < rounds; i++) {
        if (guest->vmm.log)
            memset(guest->vmm.log, 0, guest->ram.words * sizeof(uint64_t));
        if (!all_blocks(guest, false, error) || !all_blocks(guest, true, error))
            return false;
    }
    return true;
}

static bool
obey(struct guest *guest, char **words, GError **error)
{
    const bool two = g_strv_length(words) == 2;

    if (two && g_str_equal(words[0], "begin"))
        return begin(guest, words[1], error);
    if (!guest->there)
        return fail(error, "there is no guest yet");
    if (two && g_str_equal(words[0], "work"))
        return work(guest, (unsigned) g_ascii_strtoull(words[1], NULL, 0), error);
    if (two && g_str_equal(words[0], "log"))
        return g_str_equal(words[1], "on") ? log_on(guest, error) : log_off(guest, error);
    return fail(error, "what?");
}

int
main(void)
{
    struct guest *guest = g_new0(struct guest, 1);
    char line[512];

    guest->ram.fd = guest->queue.kick = guest->queue.call = guest->vmm.log_fd = -1;
    while (fgets(line, sizeof(line), stdin)) {
        g_auto(GStrv) words = g_strsplit(g_strstrip(line), " ", -1);
        g_autoptr(GError) error = NULL;

        if (words[0] && g_str_equal(words[0], "quit"))
            break;
        if (obey(guest, words, &error))
            printf("{\"requests\":%" G_GUINT64_FORMAT ",\"wrong\":%" G_GUINT64_FORMAT
                   ",\"failed\":%" G_GUINT64_FORMAT ",\"unmarked\":%" G_GUINT64_FORMAT
                   ",\"calls\":%" G_GUINT64_FORMAT "}\n",
                   guest->requests, guest->wrong, guest->failed, guest->unmarked, guest->calls);
        else
            printf("{\"error\":\"%s\"}\n", error->message);
        fflush(stdout);
    }
    vdt_vmm_clear(&guest->vmm);
    if (guest->there)
        vdt_queue_clear(&guest->queue);
    vdt_ram_clear(&guest->ram);
    g_free(guest);
    return 0;
}
