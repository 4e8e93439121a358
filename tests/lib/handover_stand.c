/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/handover_stand.h"

#include <string.h>

#include "base/wire.h"

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS))

void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

char *
stand_file(const char *name)
{
    return g_build_filename(vm_runtime_dir(), name, NULL);
}

char *
stand_text(const char *name)
{
    g_autofree char *path = stand_file(name);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

/* @member of status, one of "handover" by "handover.NAME". */
static JsonNode *
look(JsonNode *status, const char *member)
{
    JsonObject *fields = json_node_get_object(status);
    const char *dot = strchr(member, '.');

    if (dot)
        fields = json_object_get_object_member(fields, "handover");
    JsonNode *node = json_object_get_member(fields, dot ? dot + 1 : member);
    cr_assert(node, "status has no %s", member);
    return node;
}

void
expect_text(const char *name, const char *member, const char *expected)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);
    JsonNode *node = look(status, member);
    const char *text = json_node_is_null(node) ? "null" : json_node_get_string(node);

    cr_assert_str_eq(text, expected, "%s of %s is %s, not %s", member, name, text, expected);
}

void
expect_part(const char *name, const char *member, const char *part)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);
    JsonNode *node = look(status, member);
    const char *text = json_node_is_null(node) ? "" : json_node_get_string(node);

    cr_assert(strstr(text, part), "%s of %s is '%s', without %s", member, name, text, part);
    cr_assert_lt(strlen(text), 700);
}

int64_t
number(const char *name, const char *member)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);

    return json_node_get_int(look(status, member));
}

bool
awaits_state(const char *name)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);

    return json_node_get_boolean(look(status, "handover.awaits_state"));
}

void
expect_counts(const char *name, int64_t given, int64_t failed)
{
    cr_assert_eq(number(name, "handover.given"), given);
    cr_assert_eq(number(name, "handover.failed"), failed);
}

void
wait_for_file(const char *name)
{
    for (unsigned i = 0; i < 500; i++) {
        g_autofree char *text = stand_text(name);

        if (text && strchr(text, '\n'))
            return;
        g_usleep(10000);
    }
    cr_assert(false, "%s was not written", name);
}

void
expect_ended(const char *name)
{
    g_autofree char *text = stand_text(name);
    g_auto(GStrv) words = g_strsplit_set(text ? text : "", " \n", -1);
    unsigned count = 0;

    for (unsigned i = 0; words[i]; i++) {
        /* One that nobody has collected yet has ended, too. */
        pid_t pid = (pid_t) strtol(words[i], NULL, 10);
        bool there = pid > 0;

        count += there;
        for (unsigned n = 0; there && n < 200; n++) {
            g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int) pid);
            g_autofree char *stat = NULL;

            there = g_file_get_contents(path, &stat, NULL, NULL) && !strstr(stat, ") Z ");
            g_usleep(there ? 10000 : 0);
        }
        cr_assert(!there, "process %d still runs", (int) pid);
    }
    cr_assert_gt(count, 0);
}

void
begin(struct tracker *a, struct vm *vm, const char *command, const char *seconds)
{
    const char *more[] = {"--handover", command, "--handover-timeout", seconds, NULL};
    const uint8_t on = 1, vid[2] = {5, 0};
    GError *error = NULL;

    tracker_start(a, "a", "sim:loop", more);
    vm_init(vm, CONTROL);
    vm->without = DEVICE_STATE;
    vm_connect(vm, "a");
    must(vm_start(vm, &error), error);
    vm_traffic(vm, 50);
    cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, vid, 2), 0);
    expect_text("a", "handover.state", "none");
}

void
go_on(struct vm *vm, const char *name, const char *arrival)
{
    GError *error = NULL;

    must(vm_start(vm, &error), error);
    vm_traffic(vm, 50);
    expect_text(name, "arrival", arrival);
    cr_assert(vm_control_matches(name, NULL));
}

void
end(struct tracker *a, struct vm *vm)
{
    vm_clear(vm);
    cr_assert_eq(tracker_end(a), 0);
}

void
move_to(struct vm *vm, const char *name)
{
    vm_disconnect(vm);
    vm_connect(vm, name);
}
