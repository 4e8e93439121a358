/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/words.h"

#include "virtio/net_ctrl.h"

char *
vdt_words_mac(const uint8_t mac[6])
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                           mac[5]);
}

char *
vdt_words_hex(const uint8_t *bytes, size_t len)
{
    GString *text = g_string_sized_new(2 * len + 1);

    for (size_t i = 0; i < len; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return g_string_free(text, FALSE);
}

char *
vdt_words_number(uint64_t value)
{
    return g_strdup_printf("0x%" G_GINT64_MODIFIER "x", value);
}

char *
vdt_words_time(int64_t us)
{
    g_autoptr(GDateTime) seconds = g_date_time_new_from_unix_utc(us / G_USEC_PER_SEC);

    if (!seconds)
        return g_strdup_printf("%" G_GINT64_FORMAT " us", us);
    g_autofree char *date = g_date_time_format(seconds, "%Y-%m-%dT%H:%M:%S");
    return g_strdup_printf("%s.%06dZ", date, (int) (us % G_USEC_PER_SEC));
}

char *
vdt_words_vlans(const uint8_t *bitmap)
{
    GString *text = g_string_new(NULL);

    for (unsigned vid = 0; vid < 8 * VDT_VLAN_BYTES; vid++) {
        unsigned first = vid;
        while (vid < 8 * VDT_VLAN_BYTES && vdt_vlan_test(bitmap, vid))
            vid++;
        if (vid == first)
            continue;
        if (text->len > 0)
            g_string_append(text, ", ");
        g_string_append_printf(text, vid - first > 1 ? "%u-%u" : "%u", first, vid - 1);
    }
    if (text->len == 0)
        g_string_append(text, "none");
    return g_string_free(text, FALSE);
}

char *
vdt_words_fault(unsigned fault)
{
    return fault < VDT_FAULT_COUNT ? g_strdup(vdt_ring_fault_name((enum vdt_ring_fault) fault))
                                   : g_strdup_printf("fault %u", fault);
}

char *
vdt_words_abilities(uint64_t abilities)
{
    static const char *const names[] = {
        "suspend",   "resume",  "ring_state",         "set_base", "enable_after_driver_ok",
        "readdress", "disable", "maps_survive_reset",
    };
    GString *text = g_string_new(NULL);

    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(abilities >> bit & 1))
            continue;
        if (text->len > 0)
            g_string_append_c(text, ' ');
        if (bit < G_N_ELEMENTS(names))
            g_string_append(text, names[bit]);
        else
            g_string_append_printf(text, "bit%u", bit);
    }
    return g_string_free(text, FALSE);
}

char *
vdt_words_role(const struct vdt_snapshot *snapshot, unsigned ring)
{
    if (snapshot->device_id != VIRTIO_ID_NET)
        return g_strdup_printf("queue%u", ring);
    if ((int32_t) ring == snapshot->cvq_index)
        return g_strdup("control");
    return g_strdup_printf("%s%u", ring % 2 == 0 ? "rx" : "tx", ring / 2);
}
