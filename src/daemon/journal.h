/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journal: what the next tracker of this name needs when this one is killed: the state of the NIC
 * as the guest knows it. It is written before the guest sees the ack of a control command.
 *
 * A file of two slots, mapped shared and written in turn. A slot holds one whole state, the frame
 * of a snapshot with what only a restart needs before it, under a running number and an XXH3 of all
 * of it. Whole states instead of a log of commands, since a state is bounded, is encoded in about a
 * microsecond, passes the decoder and the validator that snapshots pass, and leaves nothing to
 * order, to compact or to replay twice. The number of a slot is cleared before anything else of it
 * is written and set after all of it: a process that is killed at any instruction leaves the other
 * slot, with the state before, and that command the guest has not seen acknowledged. There is no
 * fsync: the pages are the kernel's, and a crash of the host takes the guest with it. The checksum
 * finds accidents, not forgery; the directory is the tracker's own.
 *
 * Thread: control.
 */
#pragma once

#include "base/auto.h"
#include "snapshot/snapshot.h"

#define VDT_JOURNAL_SLOT 65536u

struct vdt_journal;

struct vdt_journal_record {
    struct vdt_snapshot *snapshot;  /* owned: live, or stopped with its rings; NULL: no guest */
    uint8_t config[VDT_CONFIG_MAX]; /* of the guest's first device, without the guest's changes */
    uint32_t config_len;
    /* The guest's control queue before and after the last command: the guest's ring tells whether
     * it was given back. */
    bool cvq_known;
    uint16_t cvq_before, cvq_after;
};

struct vdt_journal_record *vdt_journal_record_new(void);
void vdt_journal_record_free(struct vdt_journal_record *record); /* accepts NULL */
VDT_DEFINE_AUTO(journal_record, vdt_journal_record_free)

/*
 * Open or make the journal at @path of the tracker @name. @ret_record: what a tracker before this
 * one left, NULL if it left no guest; @ret_problem: why what is there cannot be used, NULL if it
 * can; both the caller's. A file that cannot be used is replaced. NULL with @error where there can
 * be no journal.
 */
struct vdt_journal *vdt_journal_open(const char *path, const char *name,
                                     struct vdt_journal_record **ret_record, char **ret_problem,
                                     GError **error);
/* The file goes unless @keep. Accepts NULL. */
void vdt_journal_close(struct vdt_journal *journal, bool keep);

/* False with @error where the state does not fit or the file's memory is gone: what was there
 * before stays, and is older than what the guest knows. */
bool vdt_journal_write(struct vdt_journal *journal, const struct vdt_journal_record *record,
                       GError **error);
uint64_t vdt_journal_number(const struct vdt_journal *journal); /* of the last record */

/* An owner-only regular file at @path, or a fresh one in its place; at least @size bytes that are
 * really there. @ret_problem as above. -1 with @error. */
int vdt_journal_file(const char *path, uint64_t size, char **ret_problem, GError **error);
