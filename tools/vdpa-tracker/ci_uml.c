/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linux's own virtio_net, in User-Mode Linux. Such a machine cannot migrate, so it stays where it
 * is and its NIC moves: the tracker swaps its devices under the running guest. What the guest knows
 * comes from its own kernel; it is compared with what the tracker's snapshot has.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <vdpa-tracker/error.h>

#include "device/sim_options.h"
#include "tools/vdpa-tracker/ci.h"
#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/tracker_process.h"
#include "tools/vdpa-tracker/uml_machine.h"
#include "virtio/features.h"

#define NAME "ci"
#define BOOT_S 90u
#define PING_MS 20u
#define PINGS 150u
#define SLACK_MS 250u /* of a machine that shares its processor with the device */
#define PAIRS_MAX 16u

struct uml {
    struct vdt_tracker_process *tracker; /* owned */
    struct vdt_uml_machine *machine;     /* owned */
    struct vdt_snapshot *before;         /* owned: as the guest had it set */
    JsonNode *held;                      /* owned: what the device then held, NULL where unknown */
    uint64_t offered;                    /* to the guest */
    unsigned pairs;                      /* of the guest */
    char *peer;                          /* owned: who answers on the wire, NULL: nobody known */
    int64_t frozen_us;
};

static struct uml *
guest_of(void *ctx)
{
    return ((struct vdt_ci *) ctx)->guest;
}

static int
failed(GString *said, GError *error)
{
    vdt_ci_say(said, error);
    return VDT_CASE_FAILED;
}

static int
broken(GString *said, GError *error)
{
    vdt_ci_say(said, error);
    return VDT_CASE_BROKEN;
}

/* ---- the guest ---- */

static int
tracker_starts(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;

    guest->tracker = vdt_tracker_process_start(NAME, ci->options->device[0], ci->options->shadow,
                                               ci->baseline, &error);
    if (!guest->tracker)
        return broken(said, error);
    for (unsigned ms = 0; ms < 10000; ms += 20) {
        if (g_file_test(guest->tracker->socket, G_FILE_TEST_EXISTS))
            return VDT_CASE_PASSED;
        if (!vdt_tracker_process_alive(guest->tracker, &error))
            return broken(said, error);
        g_usleep(20000);
    }
    g_string_append(said, "the tracker does not offer its socket");
    return VDT_CASE_BROKEN;
}

static int
boots(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct uml *guest = guest_of(ctx);
    g_autofree char *dir = g_build_filename(ci->scratch, "machine", NULL);
    GError *error = NULL;

    guest->machine = vdt_uml_machine_new(dir);
    bool up = vdt_uml_machine_start(guest->machine, guest->tracker->socket, BOOT_S, &error);
    g_autofree char *release = up ? vdt_uml_machine_run(guest->machine, "uname -r", &error) : NULL;
    if (!release)
        return broken(said, error);
    vdt_case_list_note(ci->list, "guest.kernel", "%s", release);
    g_string_append(said, release);
    return VDT_CASE_PASSED;
}

static int
finds_nic(void *ctx, unsigned arg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    g_autofree char *driver = vdt_uml_machine_run(
        guest->machine,
        "ip link set eth0 up && basename $(readlink /sys/class/net/eth0/device/driver)", &error);
    VDT_AUTO(snapshot) snapshot = driver ? vdt_ci_snapshot(NAME, &error) : NULL;
    struct vdt_net_config config;

    if (!snapshot)
        return broken(said, error);
    guest->offered = snapshot->guest_features;
    vdt_net_config_parse(&config, snapshot->config, snapshot->config_len);
    guest->pairs = guest->offered & VDT_BIT(VIRTIO_NET_F_MQ) ? MAX(config.max_pairs, 1u) : 1;
    g_string_printf(said, "%s, %u queue pairs, %s rings, features 0x%lx", driver, guest->pairs,
                    snapshot->packed ? "packed" : "split", (unsigned long) guest->offered);
    return g_str_equal(driver, "virtio_net") ? VDT_CASE_PASSED : VDT_CASE_BROKEN;
}

static const struct {
    const char *name;
    unsigned feature;
    bool multiqueue;
    const char *command; /* PAIRS: how many there are, at most PAIRS_MAX */
} settings[] = {
    {"mac address", VIRTIO_NET_F_CTRL_MAC_ADDR, false,
     "ip link set eth0 address 02:00:00:00:00:77"},
    {"vlan", VIRTIO_NET_F_CTRL_VLAN, false,
     "for i in 100 200 4000; do ip link add link eth0 name eth0.$i type vlan id $i && "
     "ip link set eth0.$i up || exit 1; done; ip link del eth0.200"},
    {"multicast address", VIRTIO_NET_F_CTRL_RX, false, "ip maddr add 33:33:00:00:77:77 dev eth0"},
    {"promiscuous mode, on and off", VIRTIO_NET_F_CTRL_RX, false,
     "ip link set eth0 promisc on && ip link set eth0 promisc off"},
    {"queue pairs", VIRTIO_NET_F_MQ, true,
     "ethtool -L eth0 combined 1 && ethtool -L eth0 combined $PAIRS"},
};

static int
sets(void *ctx, unsigned i, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;

    if (!(guest->offered & VDT_BIT(settings[i].feature)) ||
        (settings[i].multiqueue && guest->pairs < 2)) {
        g_string_append(said, "the guest is not offered it");
        return VDT_CASE_SKIPPED;
    }
    g_autofree char *command =
        g_strdup_printf("PAIRS=%u; %s", MIN(guest->pairs, PAIRS_MAX), settings[i].command);
    g_autofree char *out = vdt_uml_machine_run(guest->machine, command, &error);
    return out ? VDT_CASE_PASSED : failed(said, error);
}

/* ---- what the guest says ---- */

static bool
mac_of(const char *text, uint8_t *ret_mac)
{
    unsigned m[6];

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
        return false;
    for (unsigned i = 0; i < 6; i++)
        ret_mac[i] = (uint8_t) m[i];
    return true;
}

/* A line of the guest's answer into @want: "mac ADDRESS", "group 333300000001", "vlan ID",
 * "pairs N". Only what its commands have told the device. */
static void
take_line(const struct uml *guest, struct vdt_net_state *want, const char *line)
{
    unsigned number, m[6];
    uint8_t mac[6];

    if (g_str_has_prefix(line, "mac ") && guest->offered & VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) &&
        mac_of(line + 4, mac)) {
        memcpy(want->mac, mac, 6);
        want->set |= VDT_NET_MAC;
    } else if (want->set & VDT_NET_MAC_TABLE && want->multicast_count < VDT_MAC_TABLE_MAX &&
               sscanf(line, "group %2x%2x%2x%2x%2x%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) ==
                   6) {
        for (unsigned i = 0; i < 6; i++)
            want->multicast[want->multicast_count][i] = (uint8_t) m[i];
        want->multicast_count++;
    } else if (guest->offered & VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) &&
               sscanf(line, "vlan %u", &number) == 1 && number < 4096) {
        vdt_net_state_vlan(want, number, true);
    } else if (want->set & (VDT_NET_PAIRS | VDT_NET_RSS) && sscanf(line, "pairs %u", &number) == 1)
        want->queue_pairs = (uint16_t) number;
}

/* Does the tracker's snapshot have what the guest's kernel says it has set? What that does not say,
 * such as an RSS key, is taken from the snapshot. */
static int
agrees(void *ctx, unsigned leg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    g_autofree char *answer = vdt_uml_machine_run(
        guest->machine,
        "echo mac $(cat /sys/class/net/eth0/address)\n"
        "awk '$2 == \"eth0\" { print \"group\", $5 }' /proc/net/dev_mcast\n"
        "awk '$NF == \"eth0\" { print \"vlan\", $3 }' /proc/net/vlan/config\n"
        "ethtool -l eth0 | awk '/^Current/ { now = 1 } now && /^Combined/ { print \"pairs\", $2 }'",
        &error);
    VDT_AUTO(snapshot) snapshot = answer ? vdt_ci_snapshot(NAME, &error) : NULL;

    if (!snapshot)
        return failed(said, error);
    g_autofree struct vdt_net_state *want = g_memdup2(&snapshot->net, sizeof(*want));
    g_auto(GStrv) lines = g_strsplit(answer, "\n", -1);
    want->multicast_count = 0;
    memset(want->vlan, 0, sizeof(want->vlan));
    want->set &= ~(uint32_t) VDT_NET_VLAN;
    if (vdt_vlan_test(snapshot->net.vlan, 0))
        vdt_net_state_vlan(want, 0, true); /* of priority tags; the kernel lists none for it */
    for (char **line = lines; *line; line++)
        take_line(guest, want, *line);
    g_autoptr(GPtrArray) differ = vdt_net_state_diff(want, &snapshot->net);
    g_string_append(said, differ->len ? "A is what the guest says, B the snapshot: " : "");
    for (unsigned i = 0; i < differ->len; i++)
        g_string_append_printf(said, "%s%s", i ? "; " : "", (char *) differ->pdata[i]);
    return differ->len ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static JsonNode *
device_state(struct uml *guest, GError **error)
{
    g_autoptr(JsonNode) status = vdt_tracker_process_status(guest->tracker, error);
    JsonNode *state = status && JSON_NODE_HOLDS_OBJECT(status)
                          ? json_object_get_member(json_node_get_object(status), "device_state")
                          : NULL;

    return state && JSON_NODE_HOLDS_OBJECT(state) ? json_node_copy(state) : NULL;
}

/* What a frame's way is for the guest's kernel: it counts one when the device has used it. */
static int
sends(void *ctx, unsigned leg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    unsigned long before = 0, after = 0, late = 0;
    g_autofree char *out = vdt_uml_machine_run(
        guest->machine,
        "cd /sys/class/net/eth0; cat statistics/tx_packets; ip addr replace 169.254.77.1/24 dev "
        "eth0\n"
        "ip neigh replace 169.254.77.2 lladdr 02:00:00:00:00:78 dev eth0\n"
        "ping -c 20 -i 0.02 -W 1 -q 169.254.77.2 >/dev/null; sleep 0.2; cat statistics/tx_packets\n"
        "cat queues/tx-*/tx_timeout | awk '{ n += $1 } END { print n + 0 }'",
        &error);

    if (!out)
        return failed(said, error);
    if (sscanf(out, "%lu %lu %lu", &before, &after, &late) != 3)
        g_string_printf(said, "not understood: %s", out);
    else
        g_string_printf(said, "the device took %lu frames; %lu times none for too long",
                        after - before, late);
    return after >= before + 20 && late == 0 ? VDT_CASE_PASSED : VDT_CASE_FAILED;
}

/* The one who answers on the wire is this host where the wire is a tap of it with an address. The
 * guest is given the address next to it. */
static int
wire(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct uml *guest = guest_of(ctx);
    g_autofree char *tap[2] = {NULL, NULL};
    struct ifaddrs *all = NULL;
    char host[INET_ADDRSTRLEN] = "", own[INET_ADDRSTRLEN] = "";
    GError *error = NULL;

    for (unsigned i = 0; i < 2; i++) {
        struct vdt_sim_options options;

        if (!g_str_has_prefix(ci->options->device[i], "sim:"))
            continue;
        if (vdt_sim_options_parse(&options, ci->options->device[i] + 4, NULL))
            tap[i] = g_strdup(options.tap);
        vdt_sim_options_clear(&options);
    }
    bool one = tap[0] && tap[1] && g_str_equal(tap[0], tap[1]);
    if (one && getifaddrs(&all) == 0) {
        for (struct ifaddrs *at = all; at; at = at->ifa_next) {
            if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET ||
                !g_str_equal(at->ifa_name, tap[0]))
                continue;
            struct in_addr address = ((struct sockaddr_in *) (void *) at->ifa_addr)->sin_addr;
            inet_ntop(AF_INET, &address, host, sizeof(host));
            address.s_addr ^= htonl(3);
            inet_ntop(AF_INET, &address, own, sizeof(own));
        }
        freeifaddrs(all);
    }
    if (!*host) {
        g_string_append(said, one ? "this host's tap has no IPv4 address"
                                  : "both devices would have to be sim: on one tap of this host");
        return VDT_CASE_SKIPPED;
    }
    g_autofree char *command =
        g_strdup_printf("ip addr add %s/24 dev eth0 && ping -c 3 -i 0.2 -W 5 -q %s", own, host);
    g_autofree char *out = vdt_uml_machine_run(guest->machine, command, &error);
    if (!out)
        return failed(said, error);
    guest->peer = g_strdup(host);
    return VDT_CASE_PASSED;
}

/* ---- a move ---- */

/* "150 packets transmitted, 149 received, +1 duplicates, ..." */
static int
judge_pings(const struct uml *guest, const char *out, GString *said)
{
    const char *at = strstr(out, " packets transmitted");
    unsigned sent = 0, received = 0,
             most = (unsigned) (guest->frozen_us / 1000 + SLACK_MS) / PING_MS;

    while (at && at > out && g_ascii_isdigit(at[-1]))
        at--;
    if (!at || sscanf(at, "%u packets transmitted, %u received", &sent, &received) != 2) {
        g_string_printf(said, "not understood: %s", out);
        return VDT_CASE_FAILED;
    }
    bool twice = strstr(out, "duplicates") != NULL;
    g_string_printf(said,
                    "%u of %u pings were not answered, %u may be missing for %.3f ms without the "
                    "NIC%s",
                    sent - received, sent, most, (double) guest->frozen_us / 1000,
                    twice ? "; some were answered twice" : "");
    return !twice && sent == PINGS && sent - received <= most ? VDT_CASE_PASSED : VDT_CASE_FAILED;
}

/* The swap, among pings where somebody answers. */
static int
moves(void *ctx, unsigned leg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    g_autofree char *answer = NULL;
    g_autofree char *name = g_strdup_printf("downtime_us.%s.%u", vdt_ci_leg(leg), leg / 2 + 1);

    g_clear_pointer(&guest->before, vdt_snapshot_free);
    g_clear_pointer(&guest->held, json_node_unref);
    guest->before = vdt_ci_snapshot(NAME, &error);
    if (!guest->before)
        return broken(said, error);
    guest->held = device_state(guest, NULL);
    g_autoptr(VdtTracker1) tracker = vdt_client_new(NAME, &error);
    if (!tracker || !vdt_tracker1_call_swap_sync(tracker, ci->options->device[leg % 2 ? 0 : 1],
                                                 &answer, NULL, &error)) {
        if (error)
            vdt_client_strip(error);
        return broken(said, error);
    }
    g_autoptr(JsonNode) report = vdt_client_json(answer, &error);
    if (!report)
        return broken(said, error);
    guest->frozen_us = json_object_get_int_member(json_node_get_object(report), "frozen_us");
    vdt_case_list_note(ci->list, name, "%ld", (long) guest->frozen_us);
    g_string_printf(said, "%.3f ms without the NIC", (double) guest->frozen_us / 1000);
    return VDT_CASE_PASSED;
}

static int
moves_under_traffic(void *ctx, unsigned leg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    g_autofree char *command = g_strdup_printf("ping -c %u -i %g -W 1 -q %s || :", PINGS,
                                               PING_MS / 1000.0, guest->peer ? guest->peer : "");
    GError *error = NULL;
    unsigned job;

    if (!guest->peer)
        return moves(ctx, leg, said);
    job = vdt_uml_machine_begin(guest->machine, command);
    g_usleep(PINGS * PING_MS * 1000 / 3);
    int result = moves(ctx, leg, said);
    if (result != VDT_CASE_PASSED)
        return result;
    g_autofree char *out = vdt_uml_machine_finish(guest->machine, job, 60, &error);
    if (!out)
        return broken(said, error);
    g_string_append(said, "; ");
    return judge_pings(guest, out, said);
}

static int
state_told(void *ctx, unsigned leg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    VDT_AUTO(snapshot) after = vdt_ci_snapshot(NAME, &error);

    if (!after)
        return failed(said, error);
    after->net.announce = guest->before->net.announce;
    g_autoptr(GPtrArray) lines = vdt_net_state_diff(&guest->before->net, &after->net);
    for (unsigned i = 0; i < lines->len; i++)
        g_string_append_printf(said, "%s%s", i ? "; " : "", (char *) lines->pdata[i]);
    return lines->len ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static int
state_held(void *ctx, unsigned leg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    g_autoptr(JsonNode) after = device_state(guest, &error);

    if (error)
        return failed(said, error);
    if (!after || !guest->held) {
        g_string_append(said, "not both devices can be read back");
        return VDT_CASE_SKIPPED;
    }
    if (json_node_equal(after, guest->held))
        return VDT_CASE_PASSED;
    g_autofree char *was = json_to_string(guest->held, FALSE);
    g_autofree char *is = json_to_string(after, FALSE);
    g_string_printf(said, "the first one held %s, this one holds %s", was, is);
    return VDT_CASE_FAILED;
}

static int
link_up(void *ctx, unsigned leg, GString *said)
{
    struct uml *guest = guest_of(ctx);
    GError *error = NULL;
    g_autofree char *out = vdt_uml_machine_run(
        guest->machine, "cd /sys/class/net/eth0; echo $(cat carrier operstate)", &error);

    if (!out)
        return failed(said, error);
    g_string_append(said, out);
    return g_str_has_prefix(out, "1 ") ? VDT_CASE_PASSED : VDT_CASE_FAILED;
}

static int
in_time(void *ctx, unsigned leg, GString *said)
{
    struct vdt_ci *ci = ctx;
    double ms = (double) guest_of(ctx)->frozen_us / 1000;

    g_string_printf(said, "%.3f ms without the NIC, %g ms are allowed", ms,
                    ci->options->max_downtime_ms);
    return ms > ci->options->max_downtime_ms ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static int
ends(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct uml *guest = guest_of(ctx);
    int result = VDT_CASE_PASSED;
    GError *error = NULL;

    if (!guest->machine) {
        g_string_append(said, "it was not started");
        result = VDT_CASE_SKIPPED;
    } else if (!vdt_tracker_process_alive(guest->tracker, &error))
        result = failed(said, error);
    else if (!vdt_uml_machine_end(g_steal_pointer(&guest->machine))) {
        g_string_append(said, "the guest had to be killed");
        result = VDT_CASE_FAILED;
    }
    vdt_ci_uml_end(ci);
    return result;
}

static void
kill_processes(void *ctx)
{
    struct uml *guest = ctx;

    if (guest->machine)
        vdt_uml_machine_kill(guest->machine);
    if (guest->tracker && guest->tracker->pid > 0 && kill(guest->tracker->pid, SIGKILL) == 0)
        waitpid(guest->tracker->pid, NULL, 0);
}

static const struct {
    vdt_case_run run;
    const char *name;
} cases_of_move[] = {
    {moves_under_traffic, "the running guest's NIC moves to the other device"},
    {state_told, "its snapshot there is what it was"},
    {state_held, "the device there holds what the first one held"},
    {agrees, "the guest's kernel says the same"},
    {link_up, "the link is up"},
    {sends, "the device there takes the guest's frames"},
};

void
vdt_ci_uml_add(struct vdt_ci *ci)
{
    struct vdt_case_list *list = ci->list;

    ci->guest = g_new0(struct uml, 1);
    ci->kill_guest = kill_processes;
    vdt_case_list_add(list, "guest", tracker_starts, 0, "a tracker starts on the source");
    vdt_case_list_add(list, "guest", boots, 0, "Linux boots");
    vdt_case_list_add(list, "guest", finds_nic, 0, "its virtio_net drives the NIC");
    for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
        vdt_case_list_add(list, "guest", sets, i, "it sets: %s", settings[i].name);
    vdt_case_list_add(list, "guest", sends, 0, "the source takes its frames");
    vdt_case_list_add(list, "guest", wire, 0, "this host answers on the wire");
    vdt_case_list_add(list, "guest", agrees, 0, "the snapshot is what the guest's kernel says");
    for (unsigned leg = 0; leg < 2 * ci->options->repeat; leg++) {
        g_autofree char *again = vdt_ci_again(leg);

        for (unsigned i = 0; i < G_N_ELEMENTS(cases_of_move); i++)
            vdt_case_list_add(list, vdt_ci_leg(leg), cases_of_move[i].run, leg, "%s%s",
                              cases_of_move[i].name, again);
        if (ci->options->max_downtime_ms >= 0)
            vdt_case_list_add(list, vdt_ci_leg(leg), in_time, leg,
                              "the downtime is at most %g ms%s", ci->options->max_downtime_ms,
                              again);
    }
    vdt_case_list_add(list, "end", ends, 0, "guest and tracker run until they are asked to end");
    ((struct vdt_case *) g_ptr_array_index(list->cases, list->cases->len - 1))->always = true;
}

void
vdt_ci_uml_end(struct vdt_ci *ci)
{
    g_mutex_lock(&ci->list->lock);
    struct uml *guest = g_steal_pointer(&ci->guest);
    g_mutex_unlock(&ci->list->lock);

    if (!guest)
        return;
    if (guest->machine)
        vdt_uml_machine_kill(guest->machine);
    vdt_uml_machine_end(guest->machine);
    vdt_tracker_process_free(guest->tracker);
    vdt_snapshot_free(guest->before);
    g_clear_pointer(&guest->held, json_node_unref);
    g_free(guest->peer);
    g_free(guest);
}
