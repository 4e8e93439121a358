/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Command target: a guest's commands through the table. Whatever it accepts leaves a valid state;
 * what brings a fresh device to that state is accepted by such a device, brings it there, and is
 * the same again when asked of it.
 */
#include "fuzz.h"

#include "control/command.h"
#include "virtio/net_ctrl.h"

#define COMMANDS_MAX 64u

struct device {
    struct vdt_net_state state;
    const struct vdt_control_limits *limits;
    uint64_t features;
    GByteArray *sent;
    bool good;
};

static bool
obey(void *ctx, const struct vdt_command *command)
{
    struct device *device = ctx;
    const struct vdt_command_rule *rule = vdt_command_find(command->class, command->command);

    FUZZ_CHECK(rule && rule->apply);
    FUZZ_CHECK(command->len + 2 <= vdt_command_cap(command->class));
    FUZZ_CHECK(vdt_command_allowed(command, &device->state, device->limits, device->features));
    rule->apply(command, &device->state);
    FUZZ_CHECK(vdt_net_state_valid(&device->state, NULL));
    g_byte_array_append(device->sent, &command->class, 1);
    g_byte_array_append(device->sent, &command->command, 1);
    g_byte_array_append(device->sent, command->data, command->len);
    return true;
}

static void
replay(const struct vdt_net_state *state, struct device *device)
{
    const struct vdt_command_sink sink = {obey, device};

    vdt_net_state_init(&device->state);
    device->sent = g_byte_array_new();
    FUZZ_CHECK(vdt_command_emit(state, device->features, &sink));
}

static void
round_trip(const struct vdt_net_state *state, const struct vdt_control_limits *limits,
           uint64_t features)
{
    struct device first = {.limits = limits, .features = features};
    struct device second = {.limits = limits, .features = features};
    struct vdt_net_state wanted = *state;

    /* What a guest has done by commands that it negotiated can be done by them again. */
    FUZZ_CHECK(vdt_command_groups_lacking(state, features) == 0);
    wanted.announce = false; /* asked for anew, not replayed */
    replay(&wanted, &first);
    FUZZ_CHECK(vdt_net_state_equal(&wanted, &first.state));
    replay(&first.state, &second);
    FUZZ_CHECK(vdt_net_state_equal(&first.state, &second.state));
    FUZZ_CHECK(first.sent->len == second.sent->len);
    FUZZ_CHECK(first.sent->len == 0 ||
               memcmp(first.sent->data, second.sent->data, first.sent->len) == 0);
    g_byte_array_unref(first.sent);
    g_byte_array_unref(second.sent);
}

/* One command: mostly one that there is, with what it needs to look right. */
static void
send(struct fuzz_input *in, struct vdt_net_state *state, const struct vdt_control_limits *limits,
     uint64_t features)
{
    unsigned count;
    const struct vdt_command_rule *rules = vdt_command_rules(&count), *rule;
    uint8_t which = fuzz_u8(in);
    uint32_t len = fuzz_u16(in) % (VDT_COMMAND_MAX + 16);
    g_autofree uint8_t *data = g_malloc0(MAX(len, 1));
    struct vdt_command command = {.data = data, .len = len};
    const struct vdt_net_state before = *state;

    if (which & 0x80) {
        command.class = which & 15;
        command.command = fuzz_u8(in);
    } else {
        command.class = rules[which % count].class;
        command.command = rules[which % count].command;
    }
    for (uint32_t i = 0; i < len && in->left > 0; i++)
        data[i] = fuzz_u8(in);

    g_autofree char *text = vdt_command_describe(&command);
    FUZZ_CHECK(text && *text);
    rule = vdt_command_find(command.class, command.command);
    if (!vdt_command_allowed(&command, state, limits, features))
        return;
    FUZZ_CHECK(rule && len + 2 <= vdt_command_cap(command.class));
    if (!rule->apply)
        return;
    rule->apply(&command, state);
    FUZZ_CHECK(vdt_net_state_valid(state, NULL));
    /* Twice is once. */
    struct vdt_net_state twice = *state;
    if (vdt_command_allowed(&command, state, limits, features)) {
        rule->apply(&command, &twice);
        FUZZ_CHECK(vdt_net_state_equal(&twice, state));
    }
    g_autoptr(GPtrArray) lines = vdt_net_state_diff(&before, state);
    FUZZ_CHECK((lines->len == 0) == vdt_net_state_equal(&before, state));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    const uint64_t features = fuzz_take(&in, 8);
    const struct vdt_control_limits limits = {
        .max_pairs = fuzz_u16(&in),
        .rss_table_max = fuzz_u16(&in),
        .rss_key_max = fuzz_u8(&in),
        .hash_types = fuzz_u32(&in),
    };
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    state.announce = size & 1;
    for (unsigned i = 0; in.left > 0 && i < COMMANDS_MAX; i++)
        send(&in, &state, &limits, features);
    round_trip(&state, &limits, features);
    return 0;
}
