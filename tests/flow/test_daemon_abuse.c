/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tracker's process and whoever means it harm, or breaks off in the middle: it stays up, gives
 * everything back, ends when it is told to. */
#include "lib/leak.h"
#include "lib/vm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"

TestSuite(daemon_abuse, .init = NULL, .fini = vm_clean, .timeout = 60);

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDT_BIT(VIRTIO_NET_F_MAC))
/* Between the tracker's own patience, 2 s, and the deadline of 20 s that these tests give it. */
#define TOLD_TO_END_US (9 * G_USEC_PER_SEC)

static void
must(bool ok, GError **error)
{
    cr_assert(ok, "%s", *error ? (*error)->message : "failed without a message");
}

static void
begin(struct vm *vm, struct tracker *tracker, const char *device, const char *const *more)
{
    GError *error = NULL;

    tracker_start(tracker, "a", device, more);
    vm_init(vm, CONTROL);
    vm_connect(vm, "a");
    must(vm_start(vm, &error), &error);
}

static unsigned
open_fds(const struct tracker *tracker)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int) tracker->pid);
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    cr_assert(dir);
    while (g_dir_read_name(dir))
        n++;
    g_dir_close(dir);
    return n;
}

/* What belongs to a client that has left goes soon, not at once: @before may have counted one that
 * was just going. */
static void
assert_open_fds(const struct tracker *tracker, unsigned before)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (open_fds(tracker) > before && g_get_monotonic_time() < end)
        g_usleep(10000);
    cr_assert_leq(open_fds(tracker), before, "%u descriptors, %u before", open_fds(tracker),
                  before);
}

/* The device has a command that it never answers. */
static void
await_command(void)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    for (bool there = false; !there;) {
        g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
        JsonObject *device = json_object_get_object_member(json_node_get_object(status), "device");
        JsonArray *rings = json_object_get_array_member(
            json_object_get_object_member(device, "internals"), "rings");

        for (unsigned i = 0; i < json_array_get_length(rings); i++) {
            JsonObject *ring = json_array_get_object_element(rings, i);

            there |= g_str_equal(json_object_get_string_member(ring, "role"), "control") &&
                     json_object_get_int_member(ring, "in_flight") > 0;
        }
        cr_assert_lt(g_get_monotonic_time(), end, "the command does not reach the device");
    }
}

/* The tracker's loop has something else to do than to answer. */
static void
await_silence(void)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (system("timeout 1 " VDT_TRACKER_EXE " status a >/dev/null 2>&1") == 0)
        cr_assert_lt(g_get_monotonic_time(), end, "the tracker answers on");
}

/* The control queue's chain of one command, and nobody waits for it. */
static void
post_command(struct vm *vm)
{
    const uint64_t gpa = 0x180000; /* guest memory begins at 0x100000 */
    struct vdt_seg segs[] = {
        {.addr = gpa, .len = 3, .flags = VDT_SEG_NEXT},
        {.addr = gpa + 3, .len = 1, .flags = VDT_SEG_WRITE},
    };
    struct vdt_chain chain = {.seg = segs,
                              .capacity = 2,
                              .count = 2,
                              .direct = 2,
                              .slots = 2,
                              .readable = 3,
                              .writable = 1};
    uint16_t id;

    memset(vm->mem + 0x80000, 0, 4);
    cr_assert(vdt_device_ring_lay(&vm->ring[VM_CVQ], &chain, &id));
    vdt_device_ring_post(&vm->ring[VM_CVQ], &chain, id, 0, 0);
    vdt_device_ring_publish(&vm->ring[VM_CVQ]);
    vdt_event_signal(vm->kick[VM_CVQ]);
}

static void
cut_off(const char *device, off_t len)
{
    struct tracker a;
    struct vm vm, next;
    GError *error = NULL;

    begin(&vm, &a, device, NULL);
    vm_traffic(&vm, 20);
    cr_assert_eq(ftruncate(vm.memfd, len), 0);
    for (unsigned i = 0; i < VM_RINGS; i++)
        vdt_event_signal(vm.kick[i]);
    g_usleep(50000);
    cr_assert_eq(vm_cli(NULL, NULL, "status", "a", NULL), 0, "cut off at %ld", (long) len);
    vm_disconnect(&vm);
    vm_init(&next, CONTROL);
    vm_connect(&next, "a");
    must(vm_start(&next, &error), &error);
    vm_traffic(&next, 20);
    vm_clear(&next);
    /* The memory is no more: only its mapping may be touched. */
    cr_assert_eq(ftruncate(vm.memfd, 4 << 20), 0);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(daemon_abuse, guest_memory_cut_off_under_the_device_ends_nobody)
{
    cut_off("sim:loop", 0);
    cut_off("sim:loop", 0x90000);
}

Test(daemon_abuse, guest_memory_cut_off_under_the_shadow_ends_nobody)
{
    cut_off("sim:loop,no-suspend", 0);
    cut_off("sim:loop,no-suspend", 0x90000);
}

Test(daemon_abuse, hundreds_of_frontends_leave_nothing_behind)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;
    unsigned before = 0;

    begin(&vm, &a, "sim:loop", NULL);
    vm_traffic(&vm, 20);
    /* GLib opens some descriptor of its own when it gets to it: the first round does not count. */
    for (unsigned i = 0; i < 300; i++) {
        vm_disconnect(&vm);
        vm_reboot(&vm);
        if (i == 100) {
            before = open_fds(&a);
        }
        vm_connect(&vm, "a");
        if (i % 3 != 2)
            must(vm_start(&vm, &error), &error);
    }
    must(vm_start(&vm, &error), &error);
    vm_traffic(&vm, 20);
    vm_disconnect(&vm);
    assert_open_fds(&a, before);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

static int
control_socket(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/a.ctl", vm_runtime_dir());
    cr_assert_eq(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    return fd;
}

Test(daemon_abuse, clients_that_say_nothing_or_nonsense_keep_nobody_out)
{
    static const char nonsense[] = "AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\1\0\1\xff\xff\xff\x7f";
    struct tracker a;
    int fds[60];

    tracker_start(&a, "a", "sim:loop", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "status", "a", NULL), 0);
    unsigned before = open_fds(&a);
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = control_socket();
        /* Nothing; a beginning; a message that announces 2 GiB. */
        if (i % 3 > 0)
            cr_assert_eq(write(fds[i], "", 1), 1);
        if (i % 3 == 2)
            cr_assert_gt(write(fds[i], nonsense, sizeof(nonsense) - 1), 0);
    }
    cr_assert_eq(vm_cli(NULL, NULL, "status", "a", NULL), 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++)
        vdt_close(fds[i]);
    assert_open_fds(&a, before);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(daemon_abuse, signal_is_heeded_while_a_command_waits_for_its_answer)
{
    const char *const words[] = {"--deadline", "20000", NULL};
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop,cvq-silent", words);
    post_command(&vm);
    await_command();
    int64_t told = g_get_monotonic_time();
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_lt(g_get_monotonic_time() - told, TOLD_TO_END_US);
    vm_clear(&vm);
}

/* The frontend's end is waited out with the device's deadline; the signal comes in the middle. */
Test(daemon_abuse, signal_is_heeded_in_the_middle_of_a_wait)
{
    const char *const words[] = {"--deadline", "20000", NULL};
    g_autofree char *control = g_build_filename(vm_runtime_dir(), "a.ctl", NULL);
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop,cvq-silent", words);
    post_command(&vm);
    await_command();
    vm_disconnect(&vm);
    await_silence();
    int64_t told = g_get_monotonic_time();
    cr_assert_eq(tracker_end(&a), 1);
    cr_assert_lt(g_get_monotonic_time() - told, TOLD_TO_END_US);
    cr_assert(!g_file_test(control, G_FILE_TEST_EXISTS));
    vm_clear(&vm);
}

Test(daemon_abuse, swap_during_a_migration_is_refused_by_that_name)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *err = NULL;
    GError *error = NULL;
    VDT_AUTO_FD log = vdt_memfd("log", 4096, NULL);

    begin(&vm, &a, "sim:loop", NULL);
    must(vdt_frontend_set_log(vm.frontend, log, 0, 4096, &error), &error);
    must(vdt_frontend_set_features(
             vm.frontend, vm.features | VDT_BIT(26) | (vm.device_features & VDT_BIT(30)), &error),
         &error);
    cr_assert_eq(vm_cli(NULL, &err, "swap", "a", "--device", "sim:loop", NULL), 1);
    cr_assert(strstr(err, "is migrating"), "%s", err);
    vm_traffic(&vm, 20);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

static const struct {
    const char *redirect;
    int exit_code;
} outputs[] = {{"status a >/dev/full", 1}, {"status a --json >/dev/full", 1},
               {"--help >/dev/full", 1},   {"snapshot a >/dev/full", 1},
               {"status a >/dev/null", 0}, {"status nobody >&- 2>&-", 1}};

Test(daemon_abuse, output_that_is_lost_is_a_failure)
{
    struct tracker a;

    tracker_start(&a, "a", "sim:loop", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(outputs); i++) {
        g_autofree char *line =
            g_strdup_printf("exec " VDT_TRACKER_EXE " %s 2>/dev/null", outputs[i].redirect);
        int status = system(line);

        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == outputs[i].exit_code, "%s: 0x%x",
                  outputs[i].redirect, status);
    }
    /* As of "| head": no success, and nobody has to be told. */
    cr_expect_eq(system("text=$( { { sleep 0.3; " VDT_TRACKER_EXE " help 2>&3; test $? = 1 ||"
                        " echo success >&3; } | true; } 3>&1); test -z \"$text\""),
                 0);
    cr_assert_eq(tracker_end(&a), 0);
}

/* Only a socket is replaced where the control socket goes. */
Test(daemon_abuse, file_in_the_control_sockets_place_is_kept)
{
    g_autofree char *path = g_build_filename(vm_runtime_dir(), "f.ctl", NULL);
    g_autofree char *content = NULL;
    g_autofree char *err = NULL;

    cr_assert(g_file_set_contents(path, "precious", -1, NULL));
    cr_assert_eq(vm_cli(NULL, &err, "run", "--name", "f", "--device", "sim:", NULL), 2);
    cr_assert(strstr(err, "is no socket"), "%s", err);
    cr_assert(g_file_get_contents(path, &content, NULL, NULL));
    cr_assert_str_eq(content, "precious");
}

/* The same guest memory in another file, while the data rings are off: all of the device works with
 * it from then on, the control queue as well. */
Test(daemon_abuse, memory_that_changes_between_two_enables_reaches_every_ring)
{
    struct vdt_region_spec region = {.gpa = 0x100000, .size = 4 << 20, .frontend = 0x7f1200000000};
    const uint8_t on = 1;
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", NULL);
    vm_traffic(&vm, 20);
    for (unsigned i = 0; i < 2; i++)
        must(vdt_frontend_set_enable(vm.frontend, i, false, &error), &error);
    region.fd = vdt_memfd("other", (size_t) region.size, &error);
    cr_assert_eq(pwrite(region.fd, vm.mem, (size_t) region.size, 0), (ssize_t) region.size);
    cr_assert_eq(mmap(vm.mem, (size_t) region.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                      region.fd, 0),
                 vm.mem);
    must(vdt_frontend_set_memory(vm.frontend, &region, 1, &error), &error);
    for (unsigned i = 0; i < 2; i++)
        must(vdt_frontend_set_enable(vm.frontend, i, true, &error), &error);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    vm_traffic(&vm, 20);
    vdt_close(region.fd);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

/* QEMU's way: it could ask nobody where the rings stood, and takes the used indices. */
Test(daemon_abuse, guest_whose_connection_broke_goes_on_with_its_control_state)
{
    const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3}, on = 1;
    const char *const shadow[] = {"--shadow", "always", NULL};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;
    g_autofree char *before = NULL, *after = NULL;

    begin(&vm, &a, "sim:loop", shadow);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), 0);
    vm_traffic(&vm, 20);
    cr_assert(vm_control_matches("a", &before));
    vm_disconnect(&vm);
    for (unsigned i = 0; i < VM_RINGS; i++)
        vm.base[i] = vdt_get16((const uint8_t *) vm.ring[i].mem.device + 2);
    vm_connect(&vm, "a");
    must(vm_start(&vm, &error), &error);
    vm_traffic(&vm, 20);
    cr_assert(vm_control_matches("a", &after));
    cr_assert_str_eq(before, after);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}
