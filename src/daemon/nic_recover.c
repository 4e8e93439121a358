/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery: what the next tracker of this name finds when this one is killed, and what this one has
 * found. Two files: the journal has the control state and is written before the guest sees an ack;
 * the in-flight area has the requests (shadow/recover.c).
 *
 * What was left is taken only by the guest whose it is: one that has acknowledged the same features
 * and whose rings go on where they stood (vdt_shadow_life(), and the control queue by the journal's
 * positions). Until that is known it stays in the files as it is, so that a crash before then loses
 * nothing either.
 *
 * A guest that is stopped (paused) leaves the whole frozen state in the journal; it comes back as
 * frozen and goes the way of every VMM's stop and cont (nic_state.c).
 */
#include <string.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/wire.h"
#include "daemon/nic_private.h"
#include "virtio/packed_layout.h"

static void
note(struct vdt_nic *nic, enum vdt_recovery state, char *text)
{
    nic->recovery = state;
    g_free(nic->recovery_note);
    nic->recovery_note = text;
}

/* --- what we found --- */

/* Mapped as it was left if @known, empty otherwise. */
static struct vdt_inflight_area *
open_area(struct vdt_nic *nic, const char *path, bool known, GError **error)
{
    uint16_t queues = (uint16_t) MIN(vdt_shadow_ring_count(nic->shadow), VDT_RINGS_MAX);
    uint16_t size = vdt_nic_device_info(nic)->ring_max;
    uint64_t bytes = vdt_inflight_area_own_size(queues, size);
    g_autofree char *problem = NULL;

    if (!known)
        unlink(path);
    VDT_AUTO_FD fd = vdt_journal_file(path, bytes, &problem, error);
    if (fd < 0)
        return NULL;
    if (problem)
        vdt_warning("%s: what was in flight is not known: %s", nic->name, problem);
    struct vdt_inflight_area *area = vdt_inflight_area_map_own(fd, queues, size, error);
    if (!area)
        unlink(path); /* nobody writes it from here on */
    return area;
}

/* The guest was stopped: the VMM starts it from here, or takes the state somewhere else. */
static void
take_stopped(struct vdt_nic *nic)
{
    struct vdt_snapshot *frozen = g_steal_pointer(&nic->left->snapshot);

    for (uint32_t i = 0; i < frozen->ring_count; i++)
        nic->frozen_has[i] = frozen->rings[i].started;
    nic->frozen = frozen;
    vdt_nic_config_take(nic, nic->left->config, nic->left->config_len);
    g_clear_pointer(&nic->left, vdt_journal_record_free);
    nic->journaled = true;
    note(nic, VDT_RECOVERY_DONE,
         g_strdup("the guest was stopped: its state is kept for the VMM to go on with"));
}

void
vdt_nic_recover_init(struct vdt_nic *nic, const struct vdt_nic_options *options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *problem = NULL;

    if (!options->journal)
        return;
    nic->journal = vdt_journal_open(options->journal, options->name, &nic->left, &problem, &error);
    if (!nic->journal) {
        vdt_warning("%s: after a crash of this tracker its guest cannot go on: %s", nic->name,
                    error->message);
        note(nic, VDT_RECOVERY_OFF, g_strdup(error->message));
        return;
    }
    note(nic, VDT_RECOVERY_NONE, g_strdup(problem));
    if (problem)
        vdt_warning("%s: of the guest before this start %s: %s", nic->name,
                    nic->left ? "an older state is taken" : "nothing is known", problem);

    bool stopped = nic->left && !nic->left->snapshot->live;
    struct vdt_inflight_area *area =
        open_area(nic, options->inflight, nic->left && !stopped, &error);
    if (area) {
        nic->inflight_path = g_strdup(options->inflight);
        vdt_shadow_keep_inflight(nic->shadow, area);
    } else {
        vdt_warning("%s: after a crash of this tracker the requests in flight are lost: %s",
                    nic->name, error->message);
    }
    if (stopped)
        take_stopped(nic);
    else if (nic->left)
        note(nic, VDT_RECOVERY_WAITING, g_strdup("for the guest that was served before"));
    if (nic->recovery == VDT_RECOVERY_WAITING || stopped)
        vdt_info("%s: found the state that a tracker left at its end: %s", nic->name,
                 nic->recovery_note);
}

/* Where a guest is left behind, it goes on with the next tracker: also after a mere SIGTERM. */
void
vdt_nic_recover_clear(struct vdt_nic *nic)
{
    bool keep = nic->left || nic->journaled;

    vdt_journal_close(nic->journal, keep);
    if (nic->inflight_path && !keep)
        unlink(nic->inflight_path);
    g_clear_pointer(&nic->inflight_path, g_free);
    g_clear_pointer(&nic->left, vdt_journal_record_free);
    g_clear_pointer(&nic->recovery_note, g_free);
}

void
vdt_nic_recover_drop(struct vdt_nic *nic, const char *why)
{
    if (!nic->left)
        return;
    vdt_warning("%s: what the tracker before this one left is dropped: %s", nic->name, why);
    note(nic, VDT_RECOVERY_OUTDATED, g_strdup(why));
    g_clear_pointer(&nic->left, vdt_journal_record_free);
    nic->same_life = false;
    vdt_shadow_forget_inflight(nic->shadow);
}

/* Has the last command been given back? */
static bool
answered(const struct vdt_guest_cvq *cvq, uint16_t before)
{
    return !vdt_packed_is_avail(vdt_load16(vdt_packed_flags(cvq->mem.desc, before)), before);
}

static enum vdt_life
judge_cvq(const struct vdt_journal_record *left, const struct vdt_guest_cvq *cvq, char **ret_why)
{
    bool split = cvq->format.kind == VDT_RING_SPLIT;

    if (!cvq->mem.desc || !left->cvq_known)
        return VDT_LIFE_UNTOLD;
    if (vdt_shadow_ring_unused(&cvq->format, &cvq->mem)) {
        if (left->cvq_before == vdt_ring_pos_initial(cvq->format.kind).used)
            return VDT_LIFE_UNTOLD;
        *ret_why = g_strdup("no command has been done on its control queue yet");
        return VDT_LIFE_OTHER;
    }
    if (!split && (left->cvq_before & 0x7fff) < cvq->format.num)
        return VDT_LIFE_SAME;
    if (split && (cvq->pos.used == left->cvq_before || cvq->pos.used == left->cvq_after))
        return VDT_LIFE_SAME;
    *ret_why = g_strdup_printf("its control queue is at %u, ours was at %u", cvq->pos.used & 0x7fff,
                               left->cvq_after & 0x7fff);
    return VDT_LIFE_OTHER;
}

static void
take(struct vdt_nic *nic)
{
    nic->same_life = true;
    vdt_nic_config_take(nic, nic->left->config, nic->left->config_len);
    nic->cvq_known = nic->cvq_lookup = nic->left->cvq_known;
    nic->cvq_before = nic->left->cvq_before;
    nic->cvq_after = nic->left->cvq_after;
}

void
vdt_nic_recover_judge(struct vdt_nic *nic, const struct vdt_guest_cvq *cvq)
{
    g_autofree char *why = NULL;
    enum vdt_life life, control = VDT_LIFE_UNTOLD;

    if (!nic->left)
        return;
    nic->same_life = false;
    if (nic->left->snapshot->guest_features != nic->acked) {
        vdt_nic_recover_drop(nic, "this guest has acknowledged other features: it is another one");
        return;
    }
    life = vdt_shadow_life(nic->shadow, &why);
    if (life != VDT_LIFE_OTHER && cvq)
        control = judge_cvq(nic->left, cvq, &why);
    if (life == VDT_LIFE_OTHER || control == VDT_LIFE_OTHER) {
        g_autofree char *text =
            g_strdup_printf("this guest is another one, or has begun anew (%s)", why);
        vdt_nic_recover_drop(nic, text);
    } else if (life == VDT_LIFE_SAME || control == VDT_LIFE_SAME) {
        take(nic);
    } else if (cvq || vdt_shadow_guest_cvq_index(nic->shadow) < 0) {
        vdt_nic_recover_drop(nic, "no device has worked on this guest's rings yet");
    }
}

void
vdt_nic_recover_cvq(struct vdt_nic *nic, struct vdt_guest_cvq *cvq)
{
    g_autofree char *why = NULL;

    if (nic->left && !nic->same_life) {
        if (judge_cvq(nic->left, cvq, &why) == VDT_LIFE_SAME)
            take(nic);
        else
            vdt_nic_recover_drop(nic, why ? why : "no device has worked on this guest's rings yet");
    }
    /* A split ring's used index has told it already. */
    if (nic->cvq_lookup && cvq->format.kind == VDT_RING_PACKED) {
        uint16_t pos = answered(cvq, nic->cvq_before) ? nic->cvq_after : nic->cvq_before;
        cvq->pos = (struct vdt_ring_pos){.avail = pos, .used = pos};
    }
    nic->cvq_lookup = false;
    nic->cvq_known = true;
    nic->cvq_before = nic->cvq_after = cvq->pos.used;
}

static uint64_t
ran_again(struct vdt_nic *nic)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < vdt_shadow_ring_count(nic->shadow); i++) {
        struct vdt_shadow_ring_view view;
        vdt_shadow_view_ring(nic->shadow, i, &view);
        g_free(view.requests);
        sum += view.ran_again;
    }
    return sum;
}

void
vdt_nic_recover_running(struct vdt_nic *nic)
{
    if (!nic->left || !nic->same_life)
        return;
    nic->arrival = VDT_ARRIVAL_RECOVERED;
    nic->recovered_commands = nic->replayed.acked;
    note(nic, VDT_RECOVERY_DONE,
         g_strdup_printf("the guest goes on: %u control commands replayed, %" G_GUINT64_FORMAT
                         " requests made available again, which may be done twice",
                         nic->recovered_commands, ran_again(nic)));
    vdt_warning("%s: the tracker before this one ended without its guest; %s", nic->name,
                nic->recovery_note);
    g_clear_pointer(&nic->left, vdt_journal_record_free);
    nic->same_life = false;
}

/* --- what the next one finds --- */

static void
write_down(struct vdt_nic *nic, struct vdt_snapshot *snapshot)
{
    struct vdt_journal_record record = {.snapshot = snapshot,
                                        .config_len = nic->config_len,
                                        .cvq_known = nic->cvq_known,
                                        .cvq_before = nic->cvq_before,
                                        .cvq_after = nic->cvq_after};
    const struct vdt_journal_record nobody = {0};
    g_autoptr(GError) error = NULL;
    int64_t begin = g_get_monotonic_time();

    memcpy(record.config, nic->config, VDT_CONFIG_MAX);
    nic->journaled = vdt_journal_write(nic->journal, &record, &error) && snapshot;
    nic->journal_us = g_get_monotonic_time() - begin;
    if (!error)
        return;
    /* Better none than an old one. */
    vdt_journal_write(nic->journal, &nobody, NULL);
    if (!nic->journal_failed)
        vdt_warning("%s: after a crash of this tracker its guest cannot go on: %s", nic->name,
                    error->message);
    nic->journal_failed = true;
}

/* What was left and is not judged yet stands in the files, and stays. */
static bool
may_write(const struct vdt_nic *nic)
{
    return nic->journal && (!nic->left || nic->same_life);
}

void
vdt_nic_journal(struct vdt_nic *nic)
{
    if (!may_write(nic))
        return;
    VDT_AUTO(snapshot) snapshot = vdt_nic_collect(nic);
    snapshot->live = true;
    /* The area has what is in flight. */
    for (uint32_t i = 0; i < snapshot->ring_count; i++) {
        struct vdt_snapshot_ring *ring = &snapshot->rings[i];
        g_clear_pointer(&ring->requests, g_free);
        g_clear_pointer(&ring->segs, g_free);
        ring->request_count = ring->seg_count = 0;
    }
    write_down(nic, snapshot);
}

/* A guest that we are told to leave goes on, running, with the next tracker. */
void
vdt_nic_journal_stopped(struct vdt_nic *nic)
{
    if (may_write(nic) && !nic->ending)
        write_down(nic, nic->frozen);
}

void
vdt_nic_recover_disconnected(struct vdt_nic *nic)
{
    if (!may_write(nic) || nic->left || (nic->ending && nic->journaled))
        return;
    vdt_shadow_forget_inflight(nic->shadow);
    nic->cvq_known = nic->cvq_lookup = false;
    write_down(nic, NULL);
}

void
vdt_nic_recover_status(struct vdt_nic *nic, JsonBuilder *builder)
{
    static const char *const names[] = {
        [VDT_RECOVERY_OFF] = "off",          [VDT_RECOVERY_NONE] = "none",
        [VDT_RECOVERY_WAITING] = "waiting",  [VDT_RECOVERY_DONE] = "done",
        [VDT_RECOVERY_OUTDATED] = "dropped",
    };

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "state");
    json_builder_add_string_value(builder, names[nic->recovery]);
    json_builder_set_member_name(builder, "note");
    if (nic->recovery_note)
        json_builder_add_string_value(builder, nic->recovery_note);
    else
        json_builder_add_null_value(builder);
    json_builder_set_member_name(builder, "commands");
    json_builder_add_int_value(builder, nic->recovered_commands);
    json_builder_set_member_name(builder, "requests");
    json_builder_add_int_value(builder, (gint64) ran_again(nic));
    json_builder_set_member_name(builder, "journal");
    json_builder_add_int_value(builder,
                               nic->journal ? (gint64) vdt_journal_number(nic->journal) : 0);
    json_builder_set_member_name(builder, "write_us");
    json_builder_add_int_value(builder, nic->journal_us);
    json_builder_end_object(builder);
}
