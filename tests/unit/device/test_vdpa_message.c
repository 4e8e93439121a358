/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel answers, byte by byte, and what nobody should answer. */
#include <errno.h>
#include <glib.h>
#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <string.h>

#include "device/vdpa_message.h"
#include "lib/leak.h"
#include "vdpa_link.h"

VDT_SUITE(vdpa_message);

#define FAMILY 0x22
#define SEQ 7u

static enum vdt_vdpa_part
take(const uint8_t *bytes, size_t len, size_t *ret_used, struct vdt_vdpa_answer *answer)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *) bytes;

    return vdt_vdpa_take(bytes, len, FAMILY, message->nlmsg_seq, message->nlmsg_pid, ret_used,
                         answer);
}

static struct vdt_vdpa_entry
entry_of(uint8_t command, const char *name)
{
    struct vdt_vdpa_answer answer;
    size_t len, used;
    g_autofree uint8_t *bytes = vdpa_link_message(command, name, &len);

    cr_assert_eq(take(bytes, len, &used, &answer), VDT_VDPA_PART_ENTRY);
    cr_expect_eq(used, len);
    return answer.entry;
}

Test(vdpa_message, device_on_a_bus)
{
    struct vdt_vdpa_entry e = entry_of(VDPA_CMD_DEV_GET, "vdpa1");

    cr_expect_eq(e.told, VDT_VDPA_BUS | VDT_VDPA_MGMT | VDT_VDPA_NAME | VDT_VDPA_TYPE |
                             VDT_VDPA_VENDOR | VDT_VDPA_RINGS | VDT_VDPA_RING_MAX |
                             VDT_VDPA_RING_MIN);
    cr_expect_str_eq(e.bus, "pci");
    cr_expect_str_eq(e.mgmt, "0000:00:03.0");
    cr_expect_str_eq(e.name, "vdpa1");
    cr_expect_eq(e.type, 1);
    cr_expect_eq(e.vendor, 0x1af4);
    cr_expect_eq(e.rings, 9);
    cr_expect_eq(e.ring_max, 256);
    cr_expect_eq(e.ring_min, 1);
}

Test(vdpa_message, config_of_a_nic_in_use_and_of_one_that_is_free)
{
    struct vdt_vdpa_entry used = entry_of(VDPA_CMD_DEV_CONFIG_GET, "vdpa0");
    struct vdt_vdpa_entry free_one = entry_of(VDPA_CMD_DEV_CONFIG_GET, "sim1");

    cr_expect_eq(used.told, VDT_VDPA_NAME | VDT_VDPA_TYPE | VDT_VDPA_NEGOTIATED |
                                VDT_VDPA_FEATURES | VDT_VDPA_MAC | VDT_VDPA_LINK | VDT_VDPA_PAIRS);
    cr_expect_eq(used.negotiated, 0x1000000310ffffa7);
    cr_expect_eq(used.features, 0x1000010330ffffa7);
    cr_expect_eq(used.pairs, 4);
    cr_expect_eq(used.link, 1);
    cr_expect_eq(used.mac[5], 0);
    cr_expect_not(free_one.told & (VDT_VDPA_NEGOTIATED | VDT_VDPA_PAIRS));
    cr_expect_eq(free_one.features, 0x308830028);
    cr_expect_eq(free_one.mtu, 1500);
    cr_expect_eq(free_one.mac[5], 1);
}

/* Attribute 21 is a NIC's features in Linux 6.1, and a disk's capacity from 6.9 on. */
Test(vdpa_message, capacity_of_a_disk_is_no_feature_set)
{
    size_t len, used;
    struct vdt_vdpa_answer answer;
    struct vdt_vdpa_entry disk = entry_of(VDPA_CMD_DEV_CONFIG_GET, "blk0");
    g_autofree uint8_t *nic = vdpa_link_message(VDPA_CMD_DEV_CONFIG_GET, "sim0", &len);

    cr_expect_eq(disk.features, 0x308007646);
    for (size_t i = 20; i + 4 <= len; i += 4) {
        struct nlattr *attr = (struct nlattr *) (nic + i);
        if (attr->nla_len == 12 && attr->nla_type == 20)
            attr->nla_type = 21;
    }
    cr_assert_eq(take(nic, len, &used, &answer), VDT_VDPA_PART_ENTRY);
    cr_expect_eq(answer.entry.features, 0x308830028, "as 6.1 has it");
}

Test(vdpa_message, questions_are_those_of_the_family)
{
    _Alignas(struct nlmsghdr) uint8_t buf[VDT_VDPA_REQUEST_MAX];
    const struct nlmsghdr *message = (const struct nlmsghdr *) buf;
    g_autofree char *long_name = g_strnfill(VDT_VDPA_REQUEST_MAX, 'x');

    cr_assert_eq(vdt_vdpa_ask(buf, FAMILY, VDPA_CMD_DEV_GET, NULL, SEQ), 20);
    cr_expect_eq(message->nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
    cr_expect_eq(message->nlmsg_type, FAMILY);
    cr_expect_eq(message->nlmsg_seq, SEQ);
    cr_assert_eq(vdt_vdpa_ask(buf, FAMILY, VDPA_CMD_DEV_GET, "sim0", SEQ), 32);
    cr_expect_eq(message->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
    cr_expect(memcmp(buf + 24, "sim0", 5) == 0);
    cr_expect_eq(vdt_vdpa_ask(buf, FAMILY, VDPA_CMD_DEV_GET, long_name, SEQ), 0);
}

Test(vdpa_message, refusal_has_the_kernels_words)
{
    struct vdt_vdpa_answer answer;
    size_t len, used;
    g_autofree uint8_t *bytes = vdpa_link_absent(&len);

    cr_assert_eq(take(bytes, len, &used, &answer), VDT_VDPA_PART_REFUSED);
    cr_expect_eq(answer.errnum, ENODEV);
    cr_expect_str_eq(answer.text, "vdpa: device not found");
}

Test(vdpa_message, answers_to_others_are_passed_over)
{
    struct vdt_vdpa_answer answer;
    size_t len, used;
    g_autofree uint8_t *bytes = vdpa_link_message(VDPA_CMD_DEV_GET, "sim0", &len);
    const struct nlmsghdr *m = (const struct nlmsghdr *) bytes;
    uint32_t seq = m->nlmsg_seq, port = m->nlmsg_pid;

    cr_expect_eq(vdt_vdpa_take(bytes, len, FAMILY, seq + 1, port, &used, &answer),
                 VDT_VDPA_PART_OTHER);
    cr_expect_eq(used, len);
    cr_expect_eq(vdt_vdpa_take(bytes, len, FAMILY, seq, port + 1, &used, &answer),
                 VDT_VDPA_PART_OTHER);
    cr_expect_eq(vdt_vdpa_take(bytes, len, FAMILY + 1, seq, port, &used, &answer),
                 VDT_VDPA_PART_OTHER);
    cr_expect_eq(answer.entry.told, 0);
}

/* Each in memory of exactly its length, so that a sanitizer sees a byte too far. */
Test(vdpa_message, messages_cut_anywhere_end_without_harm)
{
    static const struct {
        uint8_t command;
        const char *name;
    } rows[] = {{VDPA_CMD_DEV_GET, "vdpa0"},
                {VDPA_CMD_DEV_CONFIG_GET, "blk0"},
                {VDPA_CMD_DEV_CONFIG_GET, "vdpa0"}};

    for (unsigned row = 0; row <= G_N_ELEMENTS(rows); row++) {
        size_t len, used;
        struct vdt_vdpa_answer answer;
        g_autofree uint8_t *whole = row < G_N_ELEMENTS(rows)
                                        ? vdpa_link_message(rows[row].command, rows[row].name, &len)
                                        : vdpa_link_absent(&len);

        for (size_t cut = sizeof(struct nlmsghdr); cut < len; cut++) {
            g_autofree uint8_t *part = g_memdup2(whole, cut);

            cr_expect_eq(take(part, cut, &used, &answer), VDT_VDPA_PART_OTHER, "cut at %zu", cut);
            cr_expect_eq(used, 0);
            /* The same, and it says that it is whole. */
            ((struct nlmsghdr *) part)->nlmsg_len = (uint32_t) cut;
            take(part, cut, &used, &answer);
            cr_expect(used > 0 && used <= cut);
        }
    }
}

Test(vdpa_message, lengths_inside_that_lie_end_without_harm)
{
    for (unsigned value = 0; value < 300; value++) {
        size_t len, used;
        struct vdt_vdpa_answer answer;
        g_autofree uint8_t *bytes = vdpa_link_message(VDPA_CMD_DEV_GET, "vdpa0", &len);
        g_autofree uint8_t *refusal = NULL;

        for (size_t at = sizeof(struct nlmsghdr); at + 2 <= len; at += 2) {
            uint16_t old;

            memcpy(&old, bytes + at, 2);
            memcpy(bytes + at, &(uint16_t){(uint16_t) (value < 256 ? value : value * 251)}, 2);
            take(bytes, len, &used, &answer);
            cr_expect_eq(used, len);
            cr_expect_lt(strlen(answer.entry.name), VDT_VDPA_NAME_MAX);
            memcpy(bytes + at, &old, 2);
        }
        refusal = vdpa_link_absent(&len);
        for (size_t at = sizeof(struct nlmsghdr); at + 2 <= len; at += 2) {
            uint16_t old;

            memcpy(&old, refusal + at, 2);
            memcpy(refusal + at, &(uint16_t){(uint16_t) (value < 256 ? value : value * 251)}, 2);
            take(refusal, len, &used, &answer);
            cr_expect_lt(strlen(answer.text), VDT_VDPA_NAME_MAX);
            memcpy(refusal + at, &old, 2);
        }
    }
}

Test(vdpa_message, values_of_the_wrong_size_and_wild_names_count_as_not_told)
{
    struct {
        struct nlmsghdr header;
        struct genlmsghdr generic;
        struct nlattr name;
        char text[8];
        struct nlattr type;
        uint8_t number[4];
    } m = {
        .header = {.nlmsg_len = sizeof m, .nlmsg_type = FAMILY, .nlmsg_seq = SEQ},
        .generic = {.cmd = VDPA_CMD_DEV_NEW},
        .name = {.nla_len = 12, .nla_type = VDPA_ATTR_DEV_NAME},
        .text = "a\n\x1b[2J/", /* and no end */
        .type = {.nla_len = 6, .nla_type = VDPA_ATTR_DEV_ID},
    };
    struct vdt_vdpa_answer answer;
    size_t used;

    memcpy(m.text + 6, "/\xff", 2);
    cr_assert_eq(vdt_vdpa_take(&m, sizeof m, FAMILY, SEQ, 0, &used, &answer), VDT_VDPA_PART_ENTRY);
    cr_expect_eq(answer.entry.told, VDT_VDPA_NAME);
    cr_expect_str_eq(answer.entry.name, "a??[2J/?");
    m.name.nla_len = 4;
    m.type.nla_type = VDPA_ATTR_UNSPEC;
    cr_assert_eq(vdt_vdpa_take(&m, sizeof m, FAMILY, SEQ, 0, &used, &answer), VDT_VDPA_PART_ENTRY);
    cr_expect_eq(answer.entry.told, 0);
}
