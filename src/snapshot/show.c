/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/net_config.h"
#include "snapshot/words.h"
#include "virtio/features.h"

#define NAME_WIDTH 22
#define LINE_WIDTH 100
#define LIST_MAX 16u /* entries of a long list that are shown; JSON has them all */

static void
section(GString *out, const char *title)
{
    if (out->len > 0)
        g_string_append_c(out, '\n');
    g_string_append_printf(out, "%s\n", title);
}

static void G_GNUC_PRINTF(3, 4) line(GString *out, const char *name, const char *format, ...)
{
    va_list args;

    g_string_append_printf(out, "  %-*s ", NAME_WIDTH, name);
    va_start(args, format);
    g_string_append_vprintf(out, format, args);
    va_end(args);
    g_string_append_c(out, '\n');
}

/* Words one after another, further lines indented below the first. Takes @words. */
static void
list(GString *out, const char *name, char *words)
{
    g_auto(GStrv) each = g_strsplit(words, " ", -1);
    size_t column = NAME_WIDTH + 3;

    g_free(words);
    g_string_append_printf(out, "  %-*s", NAME_WIDTH, name);
    for (char **word = each; *word; word++) {
        if (word != each && column + 1 + strlen(*word) > LINE_WIDTH) {
            g_string_append_printf(out, "\n  %-*s", NAME_WIDTH, "");
            column = NAME_WIDTH + 3;
        }
        g_string_append_printf(out, " %s", *word);
        column += 1 + strlen(*word);
    }
    g_string_append_c(out, '\n');
}

static void
optional(GString *out, const char *name, const char *text)
{
    line(out, name, "%s", text && *text ? text : "unknown");
}

static void
show_identity(GString *out, const struct vdt_snapshot *s)
{
    g_autofree char *created = vdt_words_time(s->created_us);

    section(out, "identity");
    line(out, "kind", "%s, of a %s device", s->live ? "live (control state only)" : "stopped",
         s->device_id == VIRTIO_ID_NET ? "network" : "block");
    optional(out, "tracker", s->name);
    optional(out, "source device", s->device);
    optional(out, "driver", s->driver);
    optional(out, "domain", s->uuid);
    optional(out, "written by version", s->tool_version);
    optional(out, "created", s->created_us ? created : NULL);
    line(out, "can be carried", "%s%s", s->unmigratable ? "no: " : "yes",
         s->unmigratable ? s->unmigratable : "");
    if (s->resubmitted_rx_window)
        line(out, "note", "the source was stopped by reset; frames received meanwhile may be lost");
}

static void
show_source(GString *out, const struct vdt_snapshot_source *source)
{
    g_autofree char *abilities = vdt_words_abilities(source->abilities);

    if (!source->known)
        return;
    section(out, "source");
    list(out, "its device can", g_strdup(*abilities ? abilities : "nothing of note"));
    line(out, "its device's rings", "%u, of up to %u entries", source->rings, source->ring_max);
    line(out, "dirty pages", "%s",
         source->used_width ? "as far as the device said it wrote" : "a buffer's whole length");
    line(out, "control queue", "%s",
         source->drives_control ? "driven by the tracker, the VMM keeps the guest's"
                                : "followed, or none");
    line(out, "control commands",
         "%" G_GUINT64_FORMAT " followed, %" G_GUINT64_FORMAT " answered ERR", source->commands,
         source->refused);
    if (source->ran_again > 0)
        line(out, "after a crash", "%" G_GUINT64_FORMAT " requests may have run twice",
             source->ran_again);
}

static void
show_features(GString *out, const struct vdt_snapshot *s)
{
    const struct {
        const char *name;
        uint64_t features;
    } sets[] = {
        {"of the device", s->device_features},
        {"offered to the guest", s->offered_features},
        {"taken by the guest", s->guest_features},
        {"used on the device", s->negotiated_features},
    };

    section(out, "features");
    for (unsigned i = 0; i < G_N_ELEMENTS(sets); i++) {
        g_autofree char *names = vdt_features_to_string(s->device_id, sets[i].features);
        g_autofree char *hex = vdt_words_number(sets[i].features);
        list(out, sets[i].name, g_strdup_printf("%s %s", hex, *names ? names : "(none)"));
    }
    line(out, "vhost-user protocol", "0x%" G_GINT64_MODIFIER "x", s->protocol_features);
}

static void
show_config(GString *out, const struct vdt_snapshot *s)
{
    struct vdt_net_config c;

    section(out, "config");
    line(out, "length", "%u bytes", s->config_len);
    if (s->device_id != VIRTIO_ID_NET) {
        g_autofree char *hex = vdt_words_hex(s->config, s->config_len);
        line(out, "bytes", "%s", *hex ? hex : "none");
        return;
    }
    vdt_net_config_parse(&c, s->config, s->config_len);
    if (vdt_net_config_has(&c, VDT_CONFIG_MAC)) {
        g_autofree char *mac = vdt_words_mac(c.mac);
        line(out, "MAC", "%s", mac);
    }
    if (vdt_net_config_has(&c, VDT_CONFIG_STATUS))
        line(out, "link", "%s%s", c.status & VIRTIO_NET_S_LINK_UP ? "up" : "down",
             c.status & VIRTIO_NET_S_ANNOUNCE ? ", announcement asked for" : "");
    if (vdt_net_config_has(&c, VDT_CONFIG_PAIRS))
        line(out, "queue pairs, at most", "%u", c.max_pairs);
    if (vdt_net_config_has(&c, VDT_CONFIG_MTU))
        line(out, "MTU", "%u bytes", c.mtu);
    if (vdt_net_config_has(&c, VDT_CONFIG_SPEED) && c.speed != UINT32_MAX)
        line(out, "speed", "%u Mbit/s", c.speed);
    if (vdt_net_config_has(&c, VDT_CONFIG_RSS_TABLE))
        line(out, "RSS, at most", "a table of %u entries, a key of %u bytes", c.rss_table_max,
             c.rss_key_max);
    if (vdt_net_config_has(&c, VDT_CONFIG_HASH_TYPES))
        line(out, "RSS hash types", "0x%x", c.hash_types);
}

static char *
position(const struct vdt_snapshot *s, uint16_t pos)
{
    return s->packed ? g_strdup_printf("%u/%u", pos & 0x7fff, pos >> 15)
                     : g_strdup_printf("%u", pos);
}

static char *
requests(const struct vdt_snapshot_ring *ring)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%u%s", ring->request_count,
                           ring->exact || ring->num == 0 ? "" : " (guessed)");
    for (uint32_t i = 0; i < ring->request_count && i < LIST_MAX; i++)
        g_string_append_printf(text, "%s%u", i == 0 ? ": " : ", ", ring->requests[i].id);
    if (ring->request_count > LIST_MAX)
        g_string_append_printf(text, ", and %u more", ring->request_count - LIST_MAX);
    return g_string_free(text, FALSE);
}

static void
show_rings(GString *out, const struct vdt_snapshot *s)
{
    g_autofree char *title =
        g_strdup_printf("rings (%s%s)", s->packed ? "packed: positions are slot/wrap" : "split",
                        s->live ? "; a moment's look" : "");

    section(out, title);
    if (s->ring_count == 0)
        g_string_append(out, "  none\n");
    else
        g_string_append_printf(out, "  %4s  %-8s %5s  %-18s %8s %8s  %s\n", "ring", "role", "size",
                               "state", "avail", "used", "in flight");
    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        g_autofree char *role = vdt_words_role(s, i);
        g_autofree char *avail = position(s, ring->pos.avail);
        g_autofree char *used = position(s, ring->pos.used);
        g_autofree char *in_flight = requests(ring);
        g_autofree char *state = g_strdup_printf("%s, %s", ring->started ? "started" : "stopped",
                                                 ring->enabled ? "enabled" : "disabled");
        g_autofree char *fault = vdt_words_fault(ring->fault);
        g_string_append_printf(out, "  %4u  %-8s %5u  %-18s %8s %8s  %s%s%s\n", i, role, ring->num,
                               state, avail, used, in_flight, ring->fault ? "; broken: " : "",
                               ring->fault ? fault : "");
    }
}

static void
show_macs(GString *out, const char *name, const uint8_t (*macs)[6], unsigned count)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "%u", count);
    for (unsigned i = 0; i < count && i < LIST_MAX; i++) {
        g_autofree char *mac = vdt_words_mac(macs[i]);
        g_string_append_printf(text, "%s%s", i == 0 ? ": " : ", ", mac);
    }
    if (count > LIST_MAX)
        g_string_append_printf(text, ", and %u more", count - LIST_MAX);
    list(out, name, g_string_free(text, FALSE));
}

static void
show_rx(GString *out, const struct vdt_net_state *net)
{
    static const char *const names[6] = {
        "promiscuous", "all multicast", "all unicast", "no multicast", "no unicast", "no broadcast",
    };

    for (unsigned i = 0; i < 6; i++) {
        if (net->set & VDT_NET_PROMISC << i)
            line(out, names[i], "%s", net->rx[i] ? "on" : "off");
    }
}

static void
show_hash(GString *out, const char *name, const struct vdt_net_rss *rss)
{
    g_autofree char *key = vdt_words_hex(rss->key, rss->key_len);

    line(out, name, "hash types 0x%x, key of %u bytes %s", rss->hash_types, rss->key_len, key);
}

static void
show_rss(GString *out, const struct vdt_net_rss *rss)
{
    GString *table = g_string_new(NULL);

    show_hash(out, "RSS", rss);
    g_string_append_printf(table, "%u entries:", rss->table_len);
    for (unsigned i = 0; i < rss->table_len && i < 2 * LIST_MAX; i++)
        g_string_append_printf(table, " %u", rss->table[i]);
    if (rss->table_len > 2 * LIST_MAX)
        g_string_append_printf(table, " and %u more", rss->table_len - 2 * LIST_MAX);
    list(out, "RSS table", g_string_free(table, FALSE));
    line(out, "RSS, the rest", "to receive queue %u; %u transmit queues", rss->unclassified,
         rss->max_tx_vq);
}

static void
show_coal(GString *out, const struct vdt_net_state *net)
{
    if (net->set & VDT_NET_COAL_TX)
        line(out, "transmit coalescing", "%u packets or %u us", net->coal_tx.max_packets,
             net->coal_tx.max_usecs);
    if (net->set & VDT_NET_COAL_RX)
        line(out, "receive coalescing", "%u packets or %u us", net->coal_rx.max_packets,
             net->coal_rx.max_usecs);
    for (unsigned i = 0; i < 64 && net->set & VDT_NET_COAL_VQ; i++) {
        if (!(net->vq_coal_set[0] >> i & 1))
            continue;
        g_autofree char *name = g_strdup_printf("coalescing of ring %u", i);
        line(out, name, "%u packets or %u us", net->vq_coal[i].max_packets,
             net->vq_coal[i].max_usecs);
    }
}

/* One line a group that is set, without a title. */
static void
show_control(GString *out, const struct vdt_net_state *net)
{
    if (net->set == 0 && !net->announce)
        g_string_append(out, "  nothing\n");
    if (net->set & VDT_NET_MAC) {
        g_autofree char *mac = vdt_words_mac(net->mac);
        line(out, "MAC", "%s", mac);
    }
    show_rx(out, net);
    if (net->set & VDT_NET_MAC_TABLE) {
        show_macs(out, "unicast table", net->unicast, net->unicast_count);
        show_macs(out, "multicast table", net->multicast, net->multicast_count);
    }
    if (net->set & VDT_NET_VLAN)
        list(out, "vlans", vdt_words_vlans(net->vlan));
    if (net->set & (VDT_NET_PAIRS | VDT_NET_RSS))
        line(out, "queue pairs", "%u", net->queue_pairs);
    if (net->set & VDT_NET_RSS)
        show_rss(out, &net->rss);
    if (net->set & VDT_NET_HASH)
        show_hash(out, "hash report", &net->hash);
    if (net->set & VDT_NET_OFFLOADS) {
        g_autofree char *names = vdt_features_to_string(VIRTIO_ID_NET, net->guest_offloads);
        list(out, "guest offloads", g_strdup(*names ? names : "none"));
    }
    show_coal(out, net);
    if (net->announce)
        line(out, "announcement", "asked of the guest, not acknowledged yet");
}

char *
vdt_net_state_to_text(const struct vdt_net_state *net)
{
    GString *out = g_string_new(NULL);

    show_control(out, net);
    return g_string_free(out, FALSE);
}

char *
vdt_snapshot_to_text(const struct vdt_snapshot *s)
{
    GString *out = g_string_new(NULL);

    show_identity(out, s);
    show_source(out, &s->source);
    show_features(out, s);
    show_config(out, s);
    show_rings(out, s);
    if (s->device_id == VIRTIO_ID_NET) {
        section(out, "control (what is not listed is at the device's default)");
        show_control(out, &s->net);
    }
    return g_string_free(out, FALSE);
}
