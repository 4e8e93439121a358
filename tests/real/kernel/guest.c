/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kernel-guest: the built-in guest and VMM as a program that is told what to do, a line at a time,
 * so that a test can look at devices from outside between two steps.
 *
 *   start SOCKET VLANS SEED   a guest on the tracker there, with all its pairs; traffic begins
 *   begin SOCKET              the same, but it gives no commands by itself
 *   run COMMANDS              until that many were acknowledged, one of each kind among them
 *   settle                    no more commands; says what the device has to hold
 *   keyless                   RSS without a key, which not every device takes; then as settle
 *   still | go                no more frames, those sent are done | frames again
 *   flow MILLISECONDS         frames for that long; none of them may be missing then; as go
 *   look FROM                 the books; frames missing among those from that number on
 *   log on | off              dirty logging, as a migration begins and when it is given up
 *   migrate SOCKET            memory in rounds, stop, state, go on there; refused: here again
 *   quit
 *
 * Every line is answered by one JSON object: "error" when it could not be done.
 */
#include <endian.h>
#include <json-glib/json-glib.h>
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "guest/migrate.h"
#include "snapshot/json.h"
#include "virtio/features.h"

#define RAM_SIZE (16u << 20)
#define CONNECT_MS 10000
#define PATIENCE_US (30 * G_USEC_PER_SEC)
#define FLOW_US (5 * G_USEC_PER_SEC) /* for the last frames to come back */
#define ROUNDS 3

struct guest {
    struct vdt_ram ram[2];
    struct vdt_vmm vmm[2];
    unsigned at; /* which of them it runs on */
    struct vdt_driver driver;
    struct vdt_script script;
    struct vdt_traffic traffic;
    bool there;
};

static void
say(JsonBuilder *answer, const char *name, uint64_t value)
{
    json_builder_set_member_name(answer, name);
    json_builder_add_int_value(answer, (gint64) value);
}

static bool
fail(GError **error, const char *what)
{
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED, what);
    return false;
}

/* Frames that were sent and have not come back: how many, the first, the last. */
static uint64_t
missing(const struct vdt_frames *frames, uint64_t from, uint64_t *ret_first, uint64_t *ret_last)
{
    uint64_t count = 0;

    *ret_first = *ret_last = 0;
    for (uint64_t n = from; n < frames->sent; n++) {
        if (frames->seen->data[n])
            continue;
        *ret_first = count++ ? *ret_first : n;
        *ret_last = n;
    }
    return count;
}

static void
tell_missing(const struct vdt_frames *frames, uint64_t from, JsonBuilder *answer)
{
    uint64_t first, last, count = missing(frames, from, &first, &last);

    say(answer, "missing", count);
    say(answer, "missing_first", first);
    say(answer, "missing_last", last);
}

static void
look(struct guest *guest, uint64_t from, JsonBuilder *answer)
{
    struct vdt_driver_sums sums;

    vdt_traffic_pause(&guest->traffic);
    vdt_driver_sum(&guest->driver, &sums);
    say(answer, "available", sums.available);
    say(answer, "used", sums.used);
    say(answer, "duplicated", sums.duplicated);
    say(answer, "rx_in_flight", sums.rx_in_flight);
    say(answer, "tx_in_flight", sums.tx_in_flight);
    say(answer, "sent", guest->driver.frames.sent);
    say(answer, "received", guest->driver.frames.received);
    say(answer, "received_twice", guest->driver.frames.duplicated);
    say(answer, "corrupt", guest->driver.frames.corrupt);
    say(answer, "acked", guest->script.acked);
    say(answer, "refused", guest->script.refused);
    say(answer, "wrong", guest->script.wrong);
    say(answer, "late", guest->traffic.late);
    tell_missing(&guest->driver.frames, from, answer);
    json_builder_set_member_name(answer, "broken");
    json_builder_add_string_value(answer, sums.broken ? sums.broken : "");
    json_builder_set_member_name(answer, "trouble");
    json_builder_add_string_value(answer, guest->script.trouble ? guest->script.trouble : "");
    json_builder_set_member_name(answer, "expected");
    json_builder_add_value(answer, vdt_net_state_to_json(&guest->script.expected));
    vdt_traffic_resume(&guest->traffic);
}

static void
tell_mac(const uint8_t *mac, JsonBuilder *answer)
{
    g_autofree char *text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                                            mac[3], mac[4], mac[5]);

    json_builder_set_member_name(answer, "mac");
    json_builder_add_string_value(answer, text);
}

/* ---- steps ---- */

static bool
launch(struct guest *guest, const char *socket, unsigned vlans, uint64_t seed, JsonBuilder *answer,
       GError **error)
{
    struct vdt_vmm *vmm = &guest->vmm[0];

    if (guest->there)
        return fail(error, "the guest runs already");
    if (!vdt_ram_init(&guest->ram[0], RAM_SIZE, error) ||
        !vdt_ram_init(&guest->ram[1], RAM_SIZE, error) ||
        !vdt_vmm_connect(vmm, socket, &guest->ram[0], CONNECT_MS, error))
        return false;

    struct vdt_driver_config config = {
        .features = vdt_driver_features(vmm->offered, false),
        .num = 256,
        .pairs = 1,
        .net = vmm->config,
        .seed = seed,
    };
    /* QEMU's device refuses an announcement that it has not asked for, and the script makes one. */
    config.features &= ~VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
    if (config.features & VDT_BIT(VIRTIO_NET_F_MQ))
        config.pairs = le16toh(vmm->config.max_virtqueue_pairs);
    if (!vdt_driver_init(&guest->driver, &config, &guest->ram[0], error))
        return false;
    vdt_script_init(&guest->script, &guest->driver, (uint16_t) vlans, seed);
    guest->script.idle |= seed == 0;
    if (!vdt_traffic_init(&guest->traffic, &guest->driver, &guest->script, seed))
        return fail(error, "the guest has no thread");
    /* What a slow machine and the network behind the cards can take without dropping any. */
    guest->traffic.batch = 2;
    guest->traffic.pace_us = 4000;
    guest->traffic.command_gap_us = 1000;
    guest->there = true;
    if (!vdt_vmm_start(vmm, &guest->driver, NULL, error))
        return false;
    vdt_traffic_resume(&guest->traffic);
    say(answer, "features", config.features);
    say(answer, "pairs", config.pairs);
    tell_mac(vmm->config.mac, answer);
    return true;
}

static bool
start(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    return launch(guest, words[1], (unsigned) g_ascii_strtoull(words[2], NULL, 0),
                  g_ascii_strtoull(words[3], NULL, 0), answer, error);
}

static bool
begin(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    return launch(guest, words[1], 0, 0, answer, error);
}

struct wish {
    bool quiet, complete, transmitted;
    uint64_t acked;
};

static bool
granted(struct guest *guest, const struct wish *wish, const char **ret_broken)
{
    struct vdt_driver_sums sums;

    vdt_traffic_pause(&guest->traffic);
    vdt_driver_sum(&guest->driver, &sums);
    *ret_broken = sums.broken;
    bool ok = guest->script.acked >= wish->acked &&
              (!wish->quiet || vdt_script_quiet(&guest->script)) &&
              (!wish->complete || vdt_script_complete(&guest->script)) &&
              (!wish->transmitted || sums.tx_in_flight == 0);
    vdt_traffic_resume(&guest->traffic);
    return ok;
}

static bool
wait_until(struct guest *guest, struct wish wish, GError **error)
{
    int64_t end = g_get_monotonic_time() + PATIENCE_US;
    const char *broken = NULL;

    while (!granted(guest, &wish, &broken)) {
        if (broken) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "a ring is out of service: %s",
                        broken);
            return false;
        }
        if (g_get_monotonic_time() > end)
            return fail(error, "the guest waited in vain");
        g_usleep(10000);
    }
    return true;
}

static bool
run(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    uint64_t more = g_ascii_strtoull(words[1], NULL, 0);

    vdt_traffic_pause(&guest->traffic);
    guest->script.idle = false;
    vdt_traffic_resume(&guest->traffic);
    if (!wait_until(guest, (struct wish){.complete = true, .acked = guest->script.acked + more},
                    error))
        return false;
    look(guest, 0, answer);
    vdt_traffic_pause(&guest->traffic);
    for (unsigned kind = 0; kind < VDT_SCRIPT_KINDS; kind++) {
        if (guest->script.of_kind[kind])
            say(answer, vdt_script_kind_name(kind), guest->script.of_kind[kind]);
    }
    vdt_traffic_resume(&guest->traffic);
    return true;
}

static bool
tell_expected(struct guest *guest, JsonBuilder *answer, GError **error)
{
    if (!wait_until(guest, (struct wish){.quiet = true}, error))
        return false;
    look(guest, 0, answer);
    return true;
}

static bool
settle(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    vdt_traffic_pause(&guest->traffic);
    vdt_script_settle(&guest->script);
    vdt_traffic_resume(&guest->traffic);
    return tell_expected(guest, answer, error);
}

/* Within what config space and specification allow. QEMU's device wants a key with hash types. */
static bool
keyless(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    const uint16_t pairs = (uint16_t) guest->driver.config.pairs;
    struct vdt_script_pending *p = g_new0(struct vdt_script_pending, 1);

    p->kind = VDT_SCRIPT_RSS;
    p->pairs = pairs;
    p->len = 2 + 13; /* a table of one */
    p->bytes[0] = VIRTIO_NET_CTRL_MQ;
    p->bytes[1] = VIRTIO_NET_CTRL_MQ_RSS_CONFIG;
    vdt_put32(p->bytes + 2, VIRTIO_NET_RSS_HASH_TYPE_UDPv4);
    vdt_put16(p->bytes + 12, pairs);
    vdt_traffic_pause(&guest->traffic);
    g_queue_push_tail(&guest->script.queue, p);
    vdt_traffic_resume(&guest->traffic);
    return tell_expected(guest, answer, error);
}

static void
set_sending(struct guest *guest, bool send)
{
    vdt_traffic_pause(&guest->traffic);
    guest->traffic.send = send;
    vdt_traffic_resume(&guest->traffic);
}

static bool
still(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    set_sending(guest, false);
    if (!wait_until(guest, (struct wish){.transmitted = true}, error))
        return false;
    g_usleep(200000); /* what is on its way back */
    look(guest, 0, answer);
    return true;
}

static bool
go(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    set_sending(guest, true);
    return true;
}

static bool
flow(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    int64_t end;
    uint64_t from, first, last, left;

    set_sending(guest, false);
    if (!wait_until(guest, (struct wish){.transmitted = true}, error))
        return false;
    from = guest->driver.frames.sent;
    set_sending(guest, true);
    g_usleep(1000 * g_ascii_strtoull(words[1], NULL, 0));
    set_sending(guest, false);
    end = g_get_monotonic_time() + FLOW_US;
    do {
        g_usleep(10000);
        vdt_traffic_pause(&guest->traffic);
        left = missing(&guest->driver.frames, from, &first, &last);
        vdt_traffic_resume(&guest->traffic);
    } while (left > 0 && g_get_monotonic_time() < end);
    look(guest, from, answer);
    if (guest->driver.frames.sent == from)
        return fail(error, "no frame was sent");
    set_sending(guest, true);
    return left == 0 || fail(error, "frames are missing");
}

static bool
look_at(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    look(guest, g_ascii_strtoull(words[1], NULL, 0), answer);
    return true;
}

static bool
set_log(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    struct vdt_vmm *vmm = &guest->vmm[guest->at];

    if (g_str_equal(words[1], "on"))
        return vdt_vmm_log_start(vmm, &guest->driver, error);
    return vdt_vmm_log_stop(vmm, &guest->driver, error);
}

/* The destination did not take it: the VMM goes on where it was. */
static bool
go_back(struct guest *guest, struct vdt_migrate *migrate, GError **error)
{
    struct vdt_vmm *source = &guest->vmm[guest->at];

    if (guest->driver.ram != source->ram && !vdt_driver_move(&guest->driver, source->ram, error))
        return false;
    if (!vdt_vmm_start(source, &guest->driver, migrate->bases, error))
        return false;
    vdt_traffic_resume(&guest->traffic);
    return true;
}

static bool
cross(struct guest *guest, struct vdt_migrate *migrate, const char *socket, GError **error)
{
    struct vdt_vmm *target = &guest->vmm[!guest->at];

    if (!vdt_vmm_connect(target, socket, &guest->ram[!guest->at], CONNECT_MS, error) ||
        !vdt_migrate_begin(migrate, error))
        return false;
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_usleep(50000);
        vdt_migrate_round(migrate);
    }
    return vdt_migrate_stop(migrate, error);
}

static bool
migrate(struct guest *guest, char **words, JsonBuilder *answer, GError **error)
{
    struct vdt_migrate migrate;
    g_autoptr(GError) refusal = NULL;

    vdt_migrate_init(&migrate, &guest->vmm[guest->at], &guest->vmm[!guest->at], &guest->traffic);
    bool ok = cross(guest, &migrate, words[1], error);
    uint64_t sent = guest->driver.frames.sent; /* it is paused */
    if (ok && vdt_migrate_land(&migrate, &refusal)) {
        int64_t end = g_get_monotonic_time() + PATIENCE_US, downtime;

        while ((downtime = vdt_migrate_downtime_us(&migrate)) < 0 && g_get_monotonic_time() < end)
            g_usleep(500);
        ok = downtime >= 0 || fail(error, "nothing comes back at the destination");
        say(answer, "downtime_us", (uint64_t) downtime);
        say(answer, "sent_before", sent);
        vdt_traffic_pause(&guest->traffic);
        say(answer, "sent_by_then", guest->driver.frames.sent);
        vdt_traffic_resume(&guest->traffic);
        say(answer, "state_bytes", migrate.state->len);
        say(answer, "pages_logged", migrate.distinct);
        say(answer, "pages_missed", migrate.missed);
        vdt_vmm_clear(&guest->vmm[guest->at]);
        guest->at = !guest->at;
    } else if (ok) {
        json_builder_set_member_name(answer, "refused_by_destination");
        json_builder_add_string_value(answer, refusal->message);
        ok = go_back(guest, &migrate, error);
        vdt_vmm_clear(&guest->vmm[!guest->at]);
    }
    vdt_migrate_clear(&migrate);
    return ok;
}

/* ---- lines ---- */

static const struct {
    const char *word;
    unsigned words;
    bool (*step)(struct guest *guest, char **words, JsonBuilder *answer, GError **error);
} steps[] = {
    {"start", 4, start},   {"begin", 2, begin},     {"keyless", 1, keyless}, {"run", 2, run},
    {"settle", 1, settle}, {"still", 1, still},     {"go", 1, go},           {"flow", 2, flow},
    {"look", 2, look_at},  {"migrate", 2, migrate}, {"log", 2, set_log},
};

static void
obey(struct guest *guest, char **words, JsonBuilder *answer)
{
    g_autoptr(GError) error = NULL;
    bool ok = false;

    json_builder_begin_object(answer);
    for (unsigned i = 0; i < G_N_ELEMENTS(steps) && !ok && !error; i++) {
        if (words[0] && g_str_equal(words[0], steps[i].word)) {
            if (g_strv_length(words) != steps[i].words)
                fail(&error, "that many words are not asked for");
            else if (!guest->there && steps[i].step != start && steps[i].step != begin)
                fail(&error, "there is no guest yet");
            else
                ok = steps[i].step(guest, words, answer, &error);
        }
    }
    if (!ok) {
        json_builder_set_member_name(answer, "error");
        json_builder_add_string_value(answer, error ? error->message : "what?");
    }
    json_builder_end_object(answer);
}

int
main(void)
{
    struct guest guest = {.ram = {{.fd = -1}, {.fd = -1}},
                          .driver.control = {.kick = -1, .call = -1}};
    char line[512];

    while (fgets(line, sizeof(line), stdin)) {
        g_auto(GStrv) words = g_strsplit(g_strstrip(line), " ", -1);
        g_autoptr(JsonBuilder) answer = json_builder_new();

        if (words[0] && g_str_equal(words[0], "quit"))
            break;
        obey(&guest, words, answer);
        g_autoptr(JsonNode) root = json_builder_get_root(answer);
        g_autofree char *text = json_to_string(root, FALSE);
        puts(text);
        fflush(stdout);
    }
    vdt_traffic_clear(&guest.traffic);
    if (guest.there)
        vdt_script_clear(&guest.script);
    for (unsigned i = 0; i < 2; i++)
        vdt_vmm_clear(&guest.vmm[i]);
    if (guest.there)
        vdt_driver_clear(&guest.driver);
    for (unsigned i = 0; i < 2; i++)
        vdt_ram_clear(&guest.ram[i]);
    return 0;
}
