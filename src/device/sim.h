/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sim: an embedded virtio-net device (virtio 1.2, and the control commands of 1.3), as honest and
 * as strict as hardware behind vhost-vdpa, or as bad as its options ask for.
 *
 * It works on its own thread; control calls come from the control thread. One lock guards all of
 * struct vdt_sim, held by the device thread for one bounded batch at a time. It shares no code with
 * src/control, so that its control state can judge what the tracker replays.
 *
 * This header is for the files sim*.c and for tests; everybody else goes through device.h.
 */
#pragma once

#include <linux/virtio_net.h>
#include <pthread.h>

#include "device/device.h"
#include "device/sim_options.h"
#include "virtio/guest_ring.h"
#include "virtio/net_ctrl.h"

#define VDT_SIM_RINGS_MAX (2u * VDT_SIM_PAIRS_MAX + 1u)
#define VDT_SIM_ASIDS 2u
#define VDT_SIM_FRAME_MAX (65536u + 64u)
#define VDT_SIM_MAC_SLOTS 64u /* entries of each kind that the filter holds; more overflows */
#define VDT_SIM_FLOWS 256u

/* One mapping. Sorted by IOVA in its space, never overlapping. */
struct vdt_sim_map {
    uint64_t iova, size;
    uint8_t *host; /* borrowed */
    bool writable;
};

/* A frame on its way in, with the header that goes before it. */
struct vdt_sim_frame {
    uint16_t pair; /* sent on this pair: automatic steering of the loop */
    int64_t due;   /* monotonic microseconds before which it may not be delivered */
    struct virtio_net_hdr_v1 hdr;
    uint32_t len;
    uint8_t data[];
};

/* A chain that was fetched and not yet used: in flight. */
struct vdt_sim_request {
    int64_t due;
    struct vdt_chain chain; /* @chain.seg points at @seg */
    struct vdt_seg seg[];
};

enum vdt_sim_role { VDT_SIM_RX, VDT_SIM_TX, VDT_SIM_CTRL };

struct vdt_sim_ring {
    uint16_t num;
    struct vdt_ring_addr addr;
    struct vdt_ring_pos base; /* where it starts, and where it stopped */
    bool addr_set, enabled;
    bool live;         /* latched: @ring is set up, the device may work on it */
    bool base_changed; /* set_base() since it was latched */
    bool kicked;       /* since it was enabled; matters with "kick-only" */
    bool broken;
    int kick, call; /* owned duplicates, -1 when none */
    struct vdt_guest_ring ring;
    uint64_t maps_seen; /* generation of the maps that @ring.mem was translated with */
    struct vdt_seg *scratch;
    GQueue stock;   /* of struct vdt_sim_request, in fetch order */
    GQueue backlog; /* receive: of struct vdt_sim_frame, waiting for a buffer */

    uint64_t kicks, calls, chains, bytes, frames, drops, overruns, malformed;
};

struct vdt_sim {
    struct vdt_device dev;
    struct vdt_sim_options options;

    pthread_mutex_t gate; /* taken before @lock and dropped at once: lets the control thread in */
    pthread_mutex_t lock;
    pthread_t thread;
    bool thread_started, quit;
    int epoll, wake, timer;

    /* status state machine */
    uint8_t status;
    uint64_t offered, features;
    bool suspended;
    unsigned resets;

    /* maps */
    GArray *space[VDT_SIM_ASIDS]; /* of struct vdt_sim_map */
    uint64_t maps_generation;
    int batch; /* ASID of the open batch, -1 */
    uint32_t group_asid[2];

    struct vdt_sim_ring rings[VDT_SIM_RINGS_MAX];

    /* config space */
    struct virtio_net_config config;
    int config_call;
    uint32_t config_generation;
    uint8_t mac[6]; /* the one it was made with */

    /* net */
    struct vdt_net_state net;
    bool unicast_overflow, multicast_overflow;
    uint64_t commands, commands_ok, commands_since_start;
    uint16_t flows[VDT_SIM_FLOWS]; /* pair + 1 that last sent this flow, 0 = none */
    uint64_t frames_out, frames_in, frames_filtered, frames_dropped;
    GRand *rand;

    const struct vdt_sim_backend_ops *backend;
    void *backend_state;

    GPtrArray *faults; /* owned strings, the first VDT_SIM_FAULTS_MAX */
    uint64_t fault_count;
};

#define VDT_SIM_FAULTS_MAX 32u

struct vdt_sim_backend_ops {
    const char *name;
    bool (*open)(struct vdt_sim *sim, const char *arg, GError **error);
    void (*close)(struct vdt_sim *sim);
    void (*send)(struct vdt_sim *sim, struct vdt_sim_frame *frame); /* takes @frame over */
    struct vdt_sim_frame *(*receive)(struct vdt_sim *sim);          /* NULL: nothing waits */
    void (*run)(struct vdt_sim *sim, bool running); /* may frames be taken from the wire? */
    void (*offloads)(struct vdt_sim *sim);          /* guest offloads changed */
    uint64_t lacks;                                 /* features that this back end cannot carry */
};

static inline struct vdt_sim *
vdt_sim_of(struct vdt_device *dev)
{
    return (struct vdt_sim *) dev;
}

struct vdt_device *vdt_sim_open(const char *spec, const char *arg, GError **error);

/* For tests: what happens to a device from outside. Both raise a config interrupt. */
void vdt_sim_set_link(struct vdt_device *dev, bool up);
void vdt_sim_announce(struct vdt_device *dev);

/* sim.c */
struct vdt_sim *vdt_sim_lock(struct vdt_device *dev);
void vdt_sim_unlock(struct vdt_sim *sim);
static inline void
vdt_sim_unlock_cleanup(struct vdt_sim **sim)
{
    vdt_sim_unlock(*sim);
}
#define VDT_SIM_LOCKED(dev)                                                                        \
    __attribute__((cleanup(vdt_sim_unlock_cleanup))) struct vdt_sim *sim = vdt_sim_lock(dev)

/* Sets @error to "device NAME ..." and returns false. */
bool vdt_sim_fail(struct vdt_sim *sim, GError **error, int code, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* Note a fault in the text list of describe(). */
void vdt_sim_fault(struct vdt_sim *sim, const char *format, ...) G_GNUC_PRINTF(2, 3);
static inline bool
vdt_sim_running(const struct vdt_sim *sim)
{
    return (sim->status & VIRTIO_CONFIG_S_DRIVER_OK) && !sim->suspended;
}

/* sim_config.c */
void vdt_sim_config_reset(struct vdt_sim *sim);
void vdt_sim_config_changed(struct vdt_sim *sim);
void vdt_sim_config_announce(struct vdt_sim *sim); /* no effect without GUEST_ANNOUNCE */
bool vdt_sim_get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len,
                        GError **error);
bool vdt_sim_set_config(struct vdt_device *dev, uint32_t offset, const void *buf, uint32_t len,
                        GError **error);
bool vdt_sim_set_config_call(struct vdt_device *dev, int fd, GError **error);

/* sim_describe.c */
JsonNode *vdt_sim_describe(struct vdt_device *dev);

/* sim_iotlb.c */
bool vdt_sim_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
                 bool writable, GError **error);
bool vdt_sim_unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size,
                   GError **error);
bool vdt_sim_batch(struct vdt_device *dev, uint32_t asid, bool begin, GError **error);
bool vdt_sim_get_group(struct vdt_device *dev, uint32_t ring, uint32_t *ret_group, GError **error);
bool vdt_sim_set_group_asid(struct vdt_device *dev, uint32_t group, uint32_t asid, GError **error);
uint32_t vdt_sim_asid(const struct vdt_sim *sim, uint32_t ring);
/* Host address of a stretch that is contiguous on both sides; NULL where unmapped or read-only. */
void *vdt_sim_dma_at(struct vdt_sim *sim, uint32_t asid, uint64_t iova, uint64_t len, bool write);
bool vdt_sim_dma_read(struct vdt_sim *sim, uint32_t asid, uint64_t iova, void *dst, uint32_t len);
bool vdt_sim_dma_write(struct vdt_sim *sim, uint32_t asid, uint64_t iova, const void *src,
                       uint32_t len);
void vdt_sim_maps_clear(struct vdt_sim *sim);

/* sim_ring.c */
bool vdt_sim_set_num(struct vdt_device *dev, uint32_t ring, uint16_t num, GError **error);
bool vdt_sim_set_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos pos,
                      GError **error);
bool vdt_sim_get_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos *ret_pos,
                      GError **error);
bool vdt_sim_set_addr(struct vdt_device *dev, uint32_t ring, const struct vdt_ring_addr *addr,
                      GError **error);
bool vdt_sim_set_kick(struct vdt_device *dev, uint32_t ring, int fd, GError **error);
bool vdt_sim_set_call(struct vdt_device *dev, uint32_t ring, int fd, GError **error);
bool vdt_sim_set_enable(struct vdt_device *dev, uint32_t ring, bool enable, GError **error);
uint32_t vdt_sim_cvq(const struct vdt_sim *sim); /* index of the control queue */
enum vdt_sim_role vdt_sim_ring_role(const struct vdt_sim *sim, uint32_t ring);
/* Pairs whose rings exist as negotiated, and pairs that the driver uses now. */
uint16_t vdt_sim_pairs_negotiated(const struct vdt_sim *sim);
/* Latch every ring that was enabled before DRIVER_OK. */
bool vdt_sim_rings_start(struct vdt_sim *sim, GError **error);
/* Note where the live rings stand. */
void vdt_sim_rings_sync(struct vdt_sim *sim);
void vdt_sim_ring_reset(struct vdt_sim *sim, struct vdt_sim_ring *ring);

/* sim_request.c: chains in and out of a live ring. */
/* Host addresses of the areas of a ring; false where they are not mapped as they need to be. */
bool vdt_sim_ring_translate(struct vdt_sim *sim, uint32_t index,
                            const struct vdt_ring_format *format, struct vdt_ring_mem *ret_mem);
/* May the device work on this ring now? Breaks a ring whose mappings went away. */
bool vdt_sim_ring_ready(struct vdt_sim *sim, uint32_t index);
/* Take one more chain into the stock. False: none available, or the ring is broken. */
bool vdt_sim_fetch(struct vdt_sim *sim, uint32_t index, int64_t due);
/* Which place of the stock is to be executed next: 0, or a random one with "ooo". */
unsigned vdt_sim_pick(struct vdt_sim *sim, const struct vdt_sim_ring *ring);
void vdt_sim_ring_break(struct vdt_sim *sim, uint32_t index, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
/* Give it back used with @len bytes written, and free it. The driver sees it after flush(). */
void vdt_sim_complete(struct vdt_sim *sim, uint32_t index, struct vdt_sim_request *request,
                      uint32_t len);
void vdt_sim_ring_flush(struct vdt_sim *sim, uint32_t index);
/* Copy out of the readable part, into the writable part. False: a DMA fault, the ring is broken. */
bool vdt_sim_request_read(struct vdt_sim *sim, uint32_t index,
                          const struct vdt_sim_request *request, void *dst, uint32_t len);
bool vdt_sim_request_write(struct vdt_sim *sim, uint32_t index,
                           const struct vdt_sim_request *request, const void *src, uint32_t len);

/* sim_worker.c */
bool vdt_sim_worker_start(struct vdt_sim *sim, GError **error);
void vdt_sim_worker_stop(struct vdt_sim *sim);
void vdt_sim_worker_wake(struct vdt_sim *sim);
bool vdt_sim_worker_watch(struct vdt_sim *sim, int fd, uint32_t tag, GError **error);
void vdt_sim_worker_unwatch(struct vdt_sim *sim, int fd);

/* sim_net.c. Each works off one bounded batch and returns true when more could be done at once;
 * @ret_due is lowered to the moment at which held-back work comes due. */
bool vdt_sim_transmit(struct vdt_sim *sim, uint32_t index, int64_t now, int64_t *ret_due);
bool vdt_sim_receive(struct vdt_sim *sim, uint32_t index, int64_t now, int64_t *ret_due);
bool vdt_sim_poll_wire(struct vdt_sim *sim);
struct vdt_sim_frame *vdt_sim_frame_new(const void *data, uint32_t len);
/* A frame from the wire: filter it and queue it for its ring, or free it. */
void vdt_sim_frame_arrive(struct vdt_sim *sim, struct vdt_sim_frame *frame);
void vdt_sim_net_reset(struct vdt_sim *sim);
uint64_t vdt_sim_guest_offloads(const struct vdt_sim *sim); /* in force now */
size_t vdt_sim_header_size(const struct vdt_sim *sim);

/* sim_steer.c */
bool vdt_sim_filter(const struct vdt_sim *sim, const struct vdt_sim_frame *frame);
uint16_t vdt_sim_steer(struct vdt_sim *sim, const struct vdt_sim_frame *frame, uint32_t *ret_hash,
                       uint16_t *ret_report);
void vdt_sim_learn_flow(struct vdt_sim *sim, const struct vdt_sim_frame *frame);

/* sim_rss.c */
uint32_t vdt_sim_toeplitz(const uint8_t *key, size_t key_len, const uint8_t *data, size_t len);
/* Hash by virtio 1.2, 5.1.6.4.3: false when no type of @types fits. */
bool vdt_sim_rss_hash(const struct vdt_net_rss *rss, const uint8_t *frame, size_t len,
                      uint32_t *ret_hash, uint16_t *ret_report);
uint32_t vdt_sim_flow_hash(const uint8_t *frame, size_t len); /* the same in both directions */

/* sim_ctrl.c, sim_ctrl_mq.c, sim_stats.c */
struct vdt_sim_command {
    uint8_t class, command;
    const uint8_t *data;
    uint32_t len;
    uint8_t *reply; /* behind the ack; room for @reply_room */
    uint32_t reply_room, reply_len;
};
bool vdt_sim_ctrl_run(struct vdt_sim *sim, int64_t now, int64_t *ret_due);
uint8_t vdt_sim_ctrl_execute(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_pairs(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_rss(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_hash(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_coal_all(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_coal_set(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_coal_get(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_stats_query(struct vdt_sim *sim, struct vdt_sim_command *command);
bool vdt_sim_ctrl_stats_get(struct vdt_sim *sim, struct vdt_sim_command *command);

/* sim_backend.c, sim_pair.c, sim_tap.c */
const struct vdt_sim_backend_ops *vdt_sim_backend_find(const char *name);
extern const struct vdt_sim_backend_ops vdt_sim_backend_pair, vdt_sim_backend_tap;
