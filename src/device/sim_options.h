/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sim options: what stands behind "sim:", as plain values. The table in sim_options.c is the only
 * list of them.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VDT_SIM_PAIRS_MAX 16u

struct vdt_sim_options {
    /* shape */
    uint32_t pairs, num, mtu, speed;
    uint8_t mac[6];
    uint64_t features_and, features_add, features_drop;
    bool no_packed, in_order, no_event_idx, no_indirect, no_cvq, no_mq, no_rss;
    uint64_t iova_first, iova_last;
    char *tap, *pair;
    bool null, loop;
    uint32_t backlog;

    /* pace and order */
    uint32_t latency, hold, seed;
    bool out_of_order, kick_only;

    /* what a poorer parent driver cannot do */
    bool no_asid, no_suspend, no_resume, no_base, no_readdress, no_enable_after_driver_ok;
    bool no_disable, reset_drops, mac_sticky, refetch, coal_any_ring, announce;

    /* what a bad device does */
    uint32_t nak;
    uint32_t nak_class, forget_class; /* class << 8 | command, + 1; 0 = none */
    bool cvq_silent, cvq_stale_ack;
    bool used_len_lies, used_id_lies, used_twice, dma_after_suspend;
    bool features_change, config_garbage;
};

/* Read "a,b=c,...". False with VDT_ERROR_USAGE naming the word. clear() in either case. */
bool vdt_sim_options_parse(struct vdt_sim_options *options, const char *text, GError **error);
void vdt_sim_options_clear(struct vdt_sim_options *options);

/* A paragraph for --help: one line an option. Caller frees. */
char *vdt_sim_options_help(void);
