/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filters of a guest whose control queue ends in its VMM: told by file and by a QEMU's monitor,
 * which a thread of the test plays, and read back from the device itself. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/leak.h"
#include "lib/vm.h"

TestSuite(filter, .init = NULL, .fini = vm_clean, .timeout = 60);

#define WAIT_US (20 * G_USEC_PER_SEC)
#define NIC                                                                                        \
    "{\"name\":\"net0\",\"main-mac\":\"%s\",\"promiscuous\":%s,\"unicast\":\"normal\","            \
    "\"multicast\":\"normal\",\"unicast-overflow\":false,\"multicast-overflow\":false,"            \
    "\"broadcast-allowed\":true,\"vlan\":\"normal\",\"vlan-table\":[],\"unicast-table\":[],"       \
    "\"multicast-table\":[%s]}"
#define MAC "52:54:00:73:69:6d" /* sim:'s own */
#define GROUPS "\"01:00:5e:00:00:01\",\"33:33:00:00:00:01\""

/* A guest with frames under way and without a control queue of its own. */
static void
begin(struct vm *vm, struct tracker *tracker, const char *device)
{
    GError *error = NULL;

    tracker_start(tracker, "a", device, NULL);
    vm_init(vm, 0);
    vm_connect(vm, "a");
    cr_assert(vm_start(vm, &error), "%s", error ? error->message : "");
    vm_traffic(vm, 20);
}

static void
end(struct vm *vm, struct tracker *tracker)
{
    vm_clear(vm);
    cr_assert_eq(tracker_end(tracker), 0);
}

/* What the device itself holds: "promisc allmulti multicast-addresses". */
static char *
held(void)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonObject *state = json_object_get_object_member(json_node_get_object(status), "device_state");
    JsonObject *rx = json_object_get_object_member(state, "rx");
    JsonNode *promisc = json_object_get_member(rx, "promisc");
    JsonNode *allmulti = json_object_get_member(rx, "allmulti");
    JsonNode *tables = json_object_get_member(state, "mac_table");
    JsonArray *groups =
        tables && JSON_NODE_HOLDS_OBJECT(tables)
            ? json_object_get_array_member(json_node_get_object(tables), "multicast")
            : NULL;

    return g_strdup_printf("%d %d %u",
                           JSON_NODE_HOLDS_VALUE(promisc) && json_node_get_boolean(promisc),
                           JSON_NODE_HOLDS_VALUE(allmulti) && json_node_get_boolean(allmulti),
                           groups ? json_array_get_length(groups) : 0);
}

#define EXPECT_HELD(what)                                                                          \
    do {                                                                                           \
        g_autofree char *now = held();                                                             \
        cr_expect_str_eq(now, what, "%s", now);                                                    \
    } while (0)

static char *
file_of(const char *text)
{
    char *path = g_build_filename(vm_runtime_dir(), "answer", NULL);

    cr_assert(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static int
tell(const char *mac, const char *promisc, const char *groups, char **ret_err)
{
    g_autofree char *text = g_strdup_printf("{\"return\":[" NIC "]}", mac, promisc, groups);
    g_autofree char *path = file_of(text);
    g_autofree char *err = NULL;
    int code = vm_cli(NULL, &err, "filter", "a", path, NULL);

    if (ret_err)
        *ret_err = g_steal_pointer(&err);
    return code;
}

Test(filter, device_filters_as_the_guest_wants_and_its_frames_still_come)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop");
    EXPECT_HELD("1 0 0");
    cr_assert_eq(tell(MAC, "false", GROUPS, NULL), 0);
    EXPECT_HELD("0 0 2");
    vm_traffic(&vm, 50);
    g_autoptr(JsonNode) again = NULL;
    g_autofree char *text = g_strdup_printf("[" NIC "]", MAC, "false", GROUPS);
    g_autofree char *path = file_of(text);
    again = vm_cli_json("filter", "a", path, NULL);
    cr_expect_eq(json_object_get_int_member(json_node_get_object(again), "commands"), 0,
                 "what is held already is not sent");
    cr_assert_eq(tell(MAC, "true", "", NULL), 0);
    EXPECT_HELD("1 0 0");
    end(&vm, &a);
}

/* To its own address alone nothing comes that goes to another. */
Test(filter, frames_to_other_addresses_are_the_devices_to_drop)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop");
    cr_assert_eq(tell("52:54:00:00:00:99", "false", "", NULL), 0);
    uint32_t before = vm.received;
    for (unsigned i = 0; i < 10; i++) {
        vm_send(&vm, 2);
        g_usleep(10000);
    }
    cr_expect_eq(vm.received, before);
    cr_assert_eq(tell("52:54:00:00:00:99", "true", "", NULL), 0);
    vm_settle(&vm);
    vm_traffic(&vm, 20);
    end(&vm, &a);
}

Test(filter, filters_go_along_with_a_swap_and_end_with_the_drivers_life)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop");
    cr_assert_eq(tell(MAC, "false", GROUPS, NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,latency=10", NULL), 0);
    EXPECT_HELD("0 0 2");
    vm_stop(&vm);
    cr_assert(vm_start(&vm, &error), "%s", error ? error->message : "");
    vm_traffic(&vm, 10);
    g_autofree char *now = held();
    cr_expect(g_str_has_prefix(now, "1 "), "nobody has said what the guest wants now: %s", now);
    end(&vm, &a);
}

/* How many VLANs the device lets through; -1: it does not filter them. */
static int
vlans_held(void)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonObject *state = json_object_get_object_member(json_node_get_object(status), "device_state");
    JsonNode *vlans = json_object_get_member(state, "vlans");

    return JSON_NODE_HOLDS_ARRAY(vlans) ? (int) json_array_get_length(json_node_get_array(vlans))
                                        : -1;
}

/* @words: what QEMU says of them. Returns the number of commands that it took. */
static int
tell_vlans(const char *words)
{
    g_autofree char *text =
        g_strdup_printf("[{\"name\":\"net0\",\"main-mac\":\"" MAC "\",\"unicast-table\":[],"
                        "\"multicast-table\":[],%s}]",
                        words);
    g_autofree char *path = file_of(text);
    g_autoptr(JsonNode) answer = vm_cli_json("filter", "a", path, NULL);

    return (int) json_object_get_int_member(json_node_get_object(answer), "commands");
}

Test(filter, vlans_are_followed_where_that_is_wanted)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", (const char *[]){"--follow-vlans", NULL});
    vm_init(&vm, 0);
    vm_connect(&vm, "a");
    cr_assert(vm_start(&vm, &error), "%s", error ? error->message : "");
    vm_traffic(&vm, 20);
    cr_expect_eq(vlans_held(), 4096, "%d", vlans_held());
    tell_vlans("\"vlan\":\"normal\",\"vlan-table\":[5,100]");
    cr_expect_eq(vlans_held(), 2, "%d", vlans_held());
    int commands = tell_vlans("\"vlan\":\"normal\",\"vlan-table\":[100,7,9]");
    cr_expect_eq(commands, 3, "two come, one goes: %d", commands);
    cr_expect_eq(vlans_held(), 3, "%d", vlans_held());
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,latency=10", NULL), 0);
    cr_expect_eq(vlans_held(), 3, "%d", vlans_held());
    vm_traffic(&vm, 20);
    /* Nor does one without the filter stand in the way. */
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,-CTRL_VLAN", NULL), 0);
    cr_expect_eq(vlans_held(), -1, "%d", vlans_held());
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop", NULL), 0);
    cr_expect_eq(vlans_held(), 3, "%d", vlans_held());
    tell_vlans("\"vlan\":\"none\",\"vlan-table\":[]");
    cr_expect_eq(vlans_held(), -1, "none: %d", vlans_held());
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,latency=10", NULL), 0);
    cr_expect_eq(vlans_held(), -1, "none: %d", vlans_held());
    tell_vlans("\"vlan\":\"normal\",\"vlan-table\":[8]");
    cr_expect_eq(vlans_held(), 1, "%d", vlans_held());
    tell_vlans("\"vlan\":\"all\",\"vlan-table\":[]");
    cr_expect_eq(vlans_held(), 4096, "%d", vlans_held());
    vm_traffic(&vm, 20);
    end(&vm, &a);
}

Test(filter, vlans_pass_where_nobody_asked_for_them)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop");
    tell_vlans("\"vlan\":\"normal\",\"vlan-table\":[5]");
    cr_expect_eq(vlans_held(), -1, "%d", vlans_held());
    end(&vm, &a);
}

/* The table; the last command, after promiscuous mode was turned off. */
static const char *const unwilling[] = {"sim:loop,nak-class=1.0", "sim:loop,nak=6"};

Test(filter, what_the_device_refuses_lets_everything_through)
{
    for (size_t i = 0; i < G_N_ELEMENTS(unwilling); i++) {
        struct tracker a;
        struct vm vm;
        g_autofree char *err = NULL;

        begin(&vm, &a, unwilling[i]);
        cr_expect_eq(tell("52:54:00:00:00:99", "false", GROUPS, &err), 3, "%s", unwilling[i]);
        cr_expect(strstr(err, "everything is let through, since the filters were not taken"), "%s",
                  err);
        g_autofree char *now = held();
        cr_expect(g_str_has_prefix(now, "1 "), "%s: %s", unwilling[i], now);
        vm_traffic(&vm, 20);
        end(&vm, &a);
    }
}

Test(filter, guest_with_a_control_queue_of_its_own_is_left_alone)
{
    const uint8_t off = 0;
    struct tracker a;
    struct vm vm;
    GError *error = NULL;
    g_autofree char *err = NULL;

    tracker_start(&a, "a", "sim:loop", NULL);
    vm_init(&vm, VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX));
    vm_connect(&vm, "a");
    cr_assert(vm_start(&vm, &error), "%s", error ? error->message : "");
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
    cr_expect_eq(tell(MAC, "true", GROUPS, &err), 3);
    cr_expect(strstr(err, "the guest's own commands reach the device"), "%s", err);
    EXPECT_HELD("0 0 0");
    end(&vm, &a);
}

Test(filter, where_no_guest_runs_it_is_said)
{
    struct tracker a;
    g_autofree char *err = NULL;

    tracker_start(&a, "a", "sim:", NULL);
    cr_expect_eq(tell(MAC, "false", "", &err), 1);
    cr_expect(strstr(err, "no guest runs"), "%s", err);
    cr_assert_eq(tracker_end(&a), 0);
}

/* --- a QEMU's monitor --- */

struct monitor {
    char *path;
    int listener;
    GThread *thread;
    GMutex lock;
    char *nic;      /* owned: what query-rx-filter has */
    int client;     /* -1: none */
    unsigned asked; /* queries */
    bool garbage;   /* answers them with an endless line */
};

static void
put(int fd, const char *text)
{
    ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);

    (void) n; /* a client that is gone is found out by reading */
}

static gpointer
serve(gpointer data)
{
    struct monitor *m = data;
    int fd = accept(m->listener, NULL, NULL);
    char line[512];
    size_t len = 0;

    put(fd, "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n");
    g_mutex_lock(&m->lock);
    m->client = fd;
    g_mutex_unlock(&m->lock);
    while (len < sizeof(line) && read(fd, line + len, 1) == 1) {
        if (line[len++] != '\n')
            continue;
        line[len - 1] = '\0';
        len = 0;
        g_mutex_lock(&m->lock);
        if (strstr(line, "query-rx-filter")) {
            g_autofree char *text = g_strdup_printf("{\"return\":[%s]}\r\n", m->nic);
            m->asked++;
            for (unsigned i = 0; m->garbage && i < 4000; i++)
                put(fd,
                    "{\"return\": \"and so on, and so on, and so on, and so on, and so on, and "
                    "so on, and so on, and so on, and so on, and so on, and so on, and so on, "
                    "and so on, and so on, and so on, and so on, and so on, and so on, and so "
                    "on, and so on, and so on, and so on, and so on, and so on, and so on, and "
                    "so on, and so on, and so on, and so on, and so on, and so on, and so on, ");
            if (!m->garbage)
                put(fd, text);
        } else {
            put(fd, "{\"return\":{}}\r\n");
        }
        g_mutex_unlock(&m->lock);
    }
    close(fd);
    return NULL;
}

static void
monitor_start(struct monitor *m)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    m->path = g_build_filename(vm_runtime_dir(), "qmp", NULL);
    m->client = -1;
    g_mutex_init(&m->lock);
    m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(address.sun_path, m->path, sizeof(address.sun_path));
    cr_assert_eq(bind(m->listener, (struct sockaddr *) &address, sizeof(address)), 0);
    cr_assert_eq(listen(m->listener, 1), 0);
    m->thread = g_thread_new("monitor", serve, m);
}

static void
monitor_set(struct monitor *m, const char *promisc, const char *groups, bool event)
{
    g_mutex_lock(&m->lock);
    g_free(m->nic);
    m->nic = g_strdup_printf(NIC, MAC, promisc, groups);
    if (event)
        put(m->client, "{\"event\":\"RTC_CHANGE\",\"data\":{\"offset\":1}}\r\n"
                       "{\"event\":\"NIC_RX_FILTER_CHANGED\",\"data\":{\"name\":\"other\"}}\r\n"
                       "{\"event\":\"NIC_RX_FILTER_CHANGED\",\"data\":{\"name\":\"net0\"}}\r\n");
    g_mutex_unlock(&m->lock);
}

static void
wait_held(const char *what)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;

    for (;;) {
        g_autofree char *now = held();

        if (g_str_equal(now, what))
            return;
        cr_assert_lt(g_get_monotonic_time(), deadline, "%s, not %s", now, what);
        g_usleep(50000);
    }
}

static void
die_with_parent(gpointer unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static GPid
start_follower(const struct monitor *m, int *ret_err)
{
    const char *words[] = {VDT_TRACKER_EXE, "filter", "a", "--qmp", m->path, "--nic", "net0", NULL};
    GError *error = NULL;
    GPid pid;
    bool ok = g_spawn_async_with_pipes(NULL, (char **) words, NULL,
                                       G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL,
                                       die_with_parent, NULL, &pid, NULL, NULL, ret_err, &error);

    cr_assert(ok, "%s", error ? error->message : "");
    return pid;
}

static int
wait_exit(GPid pid)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_US;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        cr_assert_lt(g_get_monotonic_time(), deadline, "filter does not end");
        g_usleep(5000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

Test(filter, monitor_is_followed_until_it_ends)
{
    struct monitor m = {0};
    struct tracker a;
    struct vm vm;
    char said[512] = "";
    int err;

    begin(&vm, &a, "sim:loop");
    monitor_start(&m);
    monitor_set(&m, "false", GROUPS, false);
    GPid pid = start_follower(&m, &err);
    wait_held("0 0 2");
    monitor_set(&m, "false", "\"01:00:5e:00:00:05\"", true);
    wait_held("0 0 1");
    monitor_set(&m, "true", "", true);
    wait_held("1 0 0");
    shutdown(m.client, SHUT_RDWR);
    cr_expect_eq(wait_exit(pid), 1);
    cr_expect_gt(read(err, said, sizeof(said) - 1), 0);
    cr_expect_str_eq(said, "vdpa-tracker: QEMU's monitor: the connection was ended\n");
    g_thread_join(m.thread);
    end(&vm, &a);
}

Test(filter, monitor_that_talks_without_end_is_left)
{
    struct monitor m = {.garbage = true};
    struct tracker a;
    char said[512] = "";
    int err;

    tracker_start(&a, "a", "sim:", NULL);
    monitor_start(&m);
    monitor_set(&m, "false", "", false);
    GPid pid = start_follower(&m, &err);
    cr_expect_eq(wait_exit(pid), 1);
    cr_expect_gt(read(err, said, sizeof(said) - 1), 0);
    cr_expect(strstr(said, "a line is too long"), "%s", said);
    g_thread_join(m.thread);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(filter, words_that_do_not_fit_together_are_refused)
{
    cr_expect_eq(vm_cli(NULL, NULL, "filter", "a", NULL), 2);
    cr_expect_eq(vm_cli(NULL, NULL, "filter", "a", "-", "--qmp", "/nonexistent", NULL), 2);
    cr_expect_eq(vm_cli(NULL, NULL, "filter", "a", "--qmp", "/nonexistent", NULL), 1);
    cr_expect_eq(vm_cli(NULL, NULL, "filter", "a", "/nonexistent", NULL), 1);
}
