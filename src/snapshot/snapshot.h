/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshot: everything a fresh device needs to go on where another one stopped, as plain data.
 *
 * Calls that the library exports are declared in the public header and there only: free, encode,
 * decode, save, load, to_text, diff.
 *
 * A decoded snapshot is untrusted until vdt_snapshot_validate(), whole, before any device is
 * touched. Encoded form: docs/state-format.md. Units: positions as in virtio/ring.h, times in
 * microseconds since the epoch.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include <vdpa-tracker/snapshot.h>

#include "base/auto.h"
#include "device/device.h"
#include "virtio/chain.h"
#include "virtio/net_state.h"

#define VDT_SNAPSHOT_FORMAT 2u        /* what is written, unless an older one is asked for */
#define VDT_SNAPSHOT_FORMAT_OLDEST 1u /* that is read and written */
#define VDT_SNAPSHOT_BYTES_MAX                                                                     \
    (8u << 20) /* an encoded snapshot longer than this is refused unread */

/* One request that the device had and did not finish. */
struct vdt_snapshot_request {
    uint16_t id;    /* split: head; packed: the guest's buffer id */
    uint16_t slots; /* ring descriptors it takes; >= 1 */
    uint32_t segs;  /* packed only: descriptors carried, @seg.. of the ring's array; they follow one
                     * another in the order of the requests */
    uint32_t seg;
    uint32_t table_len;  /* packed only: bytes of its indirect table; 0: none, or not known */
    uint64_t table_addr; /* where that lies, a guest physical address */
};

struct vdt_snapshot_ring {
    uint16_t num;
    bool started, enabled;
    bool exact;     /* the in-flight list is known, not guessed: unless live, it agrees with @pos */
    uint16_t fault; /* enum vdt_ring_fault: why it is out of service, or its list not exact; 0 */
    struct vdt_ring_pos pos;
    uint32_t request_count;                /* in fetch order */
    struct vdt_snapshot_request *requests; /* owned */
    uint32_t seg_count;
    struct vdt_seg *segs; /* owned; guest physical addresses; packed only */
};

/* What the source's device could do; bits of vdt_snapshot_source.abilities. Names: struct
 * vdt_device_info. */
enum vdt_ability {
    VDT_ABILITY_SUSPEND = 1u << 0,
    VDT_ABILITY_RESUME = 1u << 1,
    VDT_ABILITY_RING_STATE = 1u << 2,
    VDT_ABILITY_SET_BASE = 1u << 3,
    VDT_ABILITY_ENABLE_AFTER_DRIVER_OK = 1u << 4,
    VDT_ABILITY_READDRESS = 1u << 5,
    VDT_ABILITY_DISABLE = 1u << 6,
    VDT_ABILITY_MAPS_SURVIVE_RESET = 1u << 7,
};

/* Where the state was taken, for people: nobody acts on it. */
struct vdt_snapshot_source {
    bool known;               /* format 1 says nothing */
    uint64_t abilities;       /* enum vdt_ability of the device */
    uint32_t rings, ring_max; /* the device's: virtqueues, and the largest size of one */
    bool used_width;          /* dirty pages were logged by what the device said it wrote */
    bool drives_control; /* the VMM keeps the control queue: the control state is the tracker's own
                          */
    uint64_t commands, refused; /* of the guest since it negotiated: in @net, and answered ERR */
    uint64_t ran_again;         /* requests made available again after a crash: at least once */
};

struct vdt_snapshot {
    uint32_t format; /* of the bytes that it was read from, the current one otherwise */
    bool live;       /* taken of a running guest: control state exact, rings informational */
    uint64_t must_understand; /* bits of the format that a reader has to know */

    /* identity */
    uint32_t device_id;
    char *name;         /* owned: of the tracker */
    char *device;       /* owned: source device as the user named it */
    char *driver;       /* owned */
    char *uuid;         /* owned, "" if unknown: of the domain */
    char *tool_version; /* owned */
    int64_t created_us;

    /* features */
    uint64_t device_features;     /* the source device offered */
    uint64_t offered_features;    /* we offered to the frontend */
    uint64_t guest_features;      /* acked by the frontend */
    uint64_t negotiated_features; /* with the source device */
    uint64_t protocol_features;   /* vhost-user */

    uint8_t config[VDT_CONFIG_MAX]; /* config space as the guest sees it */
    uint32_t config_len;

    bool packed;
    uint32_t ring_count; /* by the guest's index, control queue included where it has one */
    struct vdt_snapshot_ring rings[VDT_RINGS_MAX];
    int32_t cvq_index; /* the guest's, -1 without */

    struct vdt_net_state net;
    char *unmigratable;         /* owned, NULL if it can be carried */
    bool resubmitted_rx_window; /* stop by reset: received frames may be lost in the window */
    struct vdt_snapshot_source source;
};

struct vdt_snapshot *vdt_snapshot_new(void);
VDT_DEFINE_AUTO(snapshot, vdt_snapshot_free)

/* Can it be written in format @format? False with @error: VDT_ERROR_REFUSED names the field that
 * has no place in an older one. */
bool vdt_snapshot_fits_format(const struct vdt_snapshot *snapshot, unsigned format, GError **error);

/* encode.c, decode.c: framed protobuf (magic, format version, length, XXH3 checksum). encode
 * validates first, takes a NULL text for "", and refuses what no reader would accept; equal
 * snapshots are those with their address tables in the same order. What is read was of format
 * @format, what is written is of the current one, whatever @format says, unless another is asked
 * for. file.c: temporary file, fsync, rename, directory fsync. Read is capped and refuses what is
 * not a regular file (a pipe given as "-" is fine). */

/* validate.c: every count, range, relation; after it the snapshot may be shown and used. decode
 * calls it. */
bool vdt_snapshot_validate(const struct vdt_snapshot *snapshot, GError **error);

/* diff.c: beside what differs, lines of what differs between any two snapshots: who wrote it, when,
 * in which format, and where. Both of char *. */
GPtrArray *vdt_snapshot_diff_all(const struct vdt_snapshot *a, const struct vdt_snapshot *b,
                                 GPtrArray **ret_by_nature);

/* show.c: text for people, JSON for scripts (keys: docs/state-format.md). */
JsonNode *vdt_snapshot_to_json(const struct vdt_snapshot *snapshot);
/* The "control" object alone, also for status and the device's own state; and back again, for text
 * of what came as JSON: what is not of that form counts as unset. */
JsonNode *vdt_net_state_to_json(const struct vdt_net_state *state);
void vdt_net_state_from_json(JsonNode *node, struct vdt_net_state *ret_state);
/* Lines of show for it; for people, so @state need not be valid. */
char *vdt_net_state_to_text(const struct vdt_net_state *state);

/* compat.c: every reason why a device cannot take this state; empty when it can. GPtrArray of
 * char *. @config is the target's config space. */
GPtrArray *vdt_snapshot_compat(const struct vdt_snapshot *snapshot,
                               const struct vdt_device_info *target, const uint8_t *config,
                               uint32_t config_len);
