/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A user of the shared library: public headers, libc and GLib, nothing of ours. Prints TAP.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vdpa-tracker/tracker.h>

#define DEVICE "sim:pairs=4"
#define CTRL_VQ_BIT 17
#define VERSION_1_BIT 32

static unsigned count, failures;

static void
check(bool ok, const char *title)
{
    printf("%sok %u - %s\n", ok ? "" : "not ", ++count, title);
    failures += !ok;
}

/* The call failed (@result is its NULL or false) with @code and a sentence. */
static void
check_error(bool result, GError **error, VdtError code, const char *title)
{
    bool ok =
        !result && g_error_matches(*error, VDT_ERROR, (int) code) && strlen((*error)->message) > 10;

    check(ok, title);
    if (!ok)
        printf("# %s\n", *error ? (*error)->message : "no error");
    g_clear_error(error);
}

static void
device_says_what_it_is(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VdtDevice) device = vdt_device_open(DEVICE, &error);

    check(device && !error, "the embedded device opens");
    check(g_str_equal(vdt_device_get_name(device), DEVICE), "a device is named as the user wrote");
    check(g_str_equal(vdt_device_get_driver(device), "sim"), "a device tells its driver");
    check(vdt_device_get_type(device) == 1, "it is a network device");
    check(vdt_device_get_features(device) >> VERSION_1_BIT & 1, "it offers VERSION_1");
    check(vdt_device_get_max_pairs(device, &error) == 4, "it has the pairs that were asked for");
    check(vdt_device_get_ring_count(device) == 9, "it has two rings a pair and a control queue");
    check(vdt_device_get_ring_max(device) >= 256, "its rings are of a useful size");
    g_autofree char *json = vdt_device_json(device);
    check(strstr(json, "\"CTRL_VQ\"") && strstr(json, "\"iova_last\":\"0x"), "it is told as JSON");
}

static void
errors_have_their_codes(void)
{
    g_autoptr(GError) error = NULL;
    const uint8_t rubbish[64] = "rubbish";

    check_error(vdt_device_open("floppy:", &error), &error, VDT_ERROR_USAGE, "no such kind");
    check_error(vdt_device_open("sim:colour=red", &error), &error, VDT_ERROR_USAGE,
                "no such option");
    check_error(vdt_snapshot_load("/nonexistent/state", &error), &error, VDT_ERROR_FAILED,
                "no such file");
    check_error(vdt_snapshot_decode(rubbish, sizeof(rubbish), &error), &error, VDT_ERROR_INVALID,
                "bytes that are no snapshot");
    check_error(vdt_snapshot_decode(rubbish, 0, &error), &error, VDT_ERROR_INVALID, "no bytes");
}

static VdtTracker *
new_tracker(const VdtTrackerOptions *options, GError **error)
{
    return vdt_tracker_new(vdt_device_open(DEVICE, NULL), options, error);
}

static void
options_of_other_versions_are_taken_or_refused(void)
{
    g_autoptr(GError) error = NULL;
    struct {
        VdtTrackerOptions options;
        uint64_t later;
    } newer = {.options = VDT_TRACKER_OPTIONS_INIT};

    g_autoptr(VdtTracker) none = new_tracker(NULL, &error);
    check(none != NULL, "no options are the defaults");
    newer.options.size = sizeof(newer);
    g_autoptr(VdtTracker) longer = new_tracker(&newer.options, &error);
    check(longer != NULL, "unknown options at their defaults are taken");
    newer.later = 1;
    check_error(new_tracker(&newer.options, &error), &error, VDT_ERROR_UNSUPPORTED,
                "an unknown option is refused");

    VdtTrackerOptions older = VDT_TRACKER_OPTIONS_INIT;
    older.size = G_STRUCT_OFFSET(VdtTrackerOptions, workers);
    older.workers = 1000000;
    g_autoptr(VdtTracker) shorter = new_tracker(&older, &error);
    check(shorter != NULL, "what lies behind the caller's size is not looked at");
    older.size = sizeof(older);
    check_error(new_tracker(&older, &error), &error, VDT_ERROR_USAGE, "a number out of range");
}

static void
snapshots_travel(const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(folder, "state", NULL);
    VdtTrackerOptions options = VDT_TRACKER_OPTIONS_INIT;

    options.name = "traveller";
    g_autoptr(VdtTracker) tracker = new_tracker(&options, &error);
    g_autofree char *status = vdt_tracker_status_json(tracker);
    check(strstr(status, "\"traveller\"") && strstr(status, "\"connected\":false"),
          "a tracker without a VMM has a status");
    check(vdt_tracker_get_features(tracker) >> CTRL_VQ_BIT & 1, "it offers the control queue");

    g_autoptr(VdtSnapshot) a = vdt_tracker_snapshot(tracker, &error);
    check(a && vdt_snapshot_save(a, path, &error), "its state goes into a file");
    g_autoptr(VdtSnapshot) b = vdt_snapshot_load(path, &error);
    g_autoptr(GPtrArray) same = b ? vdt_snapshot_diff(a, b) : NULL;
    check(same && same->len == 0, "and comes back as it was");
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(b, &error);
    g_autoptr(VdtSnapshot) c =
        vdt_snapshot_decode(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), &error);
    g_autoptr(GBytes) again = c ? vdt_snapshot_encode(c, &error) : NULL;
    check(again && g_bytes_equal(bytes, again), "equal states are equal bytes");
    g_autoptr(GBytes) older = vdt_snapshot_encode_as(b, 1, &error);
    g_autoptr(VdtSnapshot) old =
        older ? vdt_snapshot_decode(g_bytes_get_data(older, NULL), g_bytes_get_size(older), &error)
              : NULL;
    check(old && vdt_snapshot_get_format(old) == 1, "it can be written for an older reader");
    check(vdt_snapshot_get_format(b) == 2, "and is not by itself");
    check_error(vdt_snapshot_encode_as(b, 9, &error), &error, VDT_ERROR_USAGE,
                "a format that there is not");
    g_autofree char *text = vdt_snapshot_to_text(c);
    g_autofree char *json = vdt_snapshot_json(c);
    check(strstr(text, "traveller") && strstr(json, "\"traveller\""), "text and JSON name it");
    check(vdt_snapshot_is_live(c) == vdt_snapshot_is_live(a) && !vdt_snapshot_get_unmigratable(c),
          "it can be carried");

    options.name = "somebody else";
    g_autoptr(VdtTracker) other = new_tracker(&options, &error);
    g_autoptr(VdtSnapshot) d = vdt_tracker_snapshot(other, &error);
    g_autoptr(GPtrArray) differ = vdt_snapshot_diff(a, d);
    check(differ->len > 0, "another tracker's state differs");

    unsigned commands = 99;
    check(vdt_tracker_restore(other, a, &commands, &error) && commands == 0,
          "it takes the first one's, and replays nothing before the guest is there");
    unlink(path);
}

struct vmm {
    int fd;
    unsigned ended;
    bool orderly;
    VdtTracker *freed; /* to be freed when the VMM goes */
};

static void
on_ended(VdtTracker *tracker, const GError *reason, gpointer data)
{
    struct vmm *vmm = data;

    vmm->ended++;
    vmm->orderly = !reason;
    if (vmm->freed == tracker)
        vdt_tracker_free(g_steal_pointer(&vmm->freed));
}

/* A VMM that asks for the features (request 1) and reads the answer. */
static bool
ask_features(struct vmm *vmm, GMainContext *context, uint64_t *ret_features)
{
    const uint32_t request[3] = {1, 1, 0};
    struct {
        uint32_t header[3];
        uint8_t features[8];
    } reply;

    if (write(vmm->fd, request, sizeof(request)) != (ssize_t) sizeof(request))
        return false;
    for (unsigned i = 0; i < 1000; i++) {
        g_main_context_iteration(context, FALSE);
        ssize_t n = recv(vmm->fd, &reply, sizeof(reply), MSG_DONTWAIT);
        if (n == (ssize_t) sizeof(reply)) {
            memcpy(ret_features, reply.features, sizeof(*ret_features));
            return reply.header[0] == 1;
        }
        g_usleep(1000);
    }
    return false;
}

/* It takes all of them (request 2); the next answer comes after that is done. */
static bool
negotiate(struct vmm *vmm, VdtTracker *tracker)
{
    struct {
        uint32_t header[3];
        uint8_t features[8];
    } request = {.header = {2, 1, 8}};
    uint64_t features = vdt_tracker_get_features(tracker);

    memcpy(request.features, &features, sizeof(features));
    return write(vmm->fd, &request, sizeof(request)) == (ssize_t) sizeof(request) &&
           ask_features(vmm, NULL, &features);
}

static bool
connect_vmm(struct vmm *vmm, VdtTracker *tracker, GError **error)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    vmm->fd = ends[0];
    return vdt_tracker_serve(tracker, ends[1], on_ended, vmm, error);
}

static void
hang_up(struct vmm *vmm, GMainContext *context)
{
    unsigned before = vmm->ended;

    close(vmm->fd);
    for (unsigned i = 0; i < 1000 && vmm->ended == before; i++) {
        g_main_context_iteration(context, FALSE);
        g_usleep(1000);
    }
}

static void
devices_are_checked_before_they_are_touched(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VdtTracker) tracker = new_tracker(NULL, &error);
    struct vmm vmm = {0};
    bool negotiated = connect_vmm(&vmm, tracker, &error) && negotiate(&vmm, tracker);
    g_autoptr(VdtSnapshot) snapshot = vdt_tracker_snapshot(tracker, &error);
    g_autoptr(VdtDevice) equal = vdt_device_open(DEVICE, &error);
    g_autoptr(VdtDevice) small = vdt_device_open("sim:pairs=1", &error);
    g_autoptr(GPtrArray) none = vdt_snapshot_check(snapshot, equal, &error);
    g_autoptr(GPtrArray) some = vdt_snapshot_check(snapshot, small, &error);
    g_autofree char *report = NULL;

    check(negotiated, "a VMM takes all that is offered");
    check(none && none->len == 0, "an equal device can take the state");
    check(some && some->len > 0 && strlen(some->pdata[0]) > 10, "a smaller one cannot, and why");
    check_error(vdt_tracker_swap(tracker, "sim:pairs=1", &report, &error), &error,
                VDT_ERROR_REFUSED, "a swap to the smaller one is refused");
    check(!report, "a swap that failed has no report");
    check(vdt_tracker_swap(tracker, DEVICE, &report, &error) && strstr(report, "\"to\""),
          "a swap to the equal one is done and told");
    close(vmm.fd);
}

static void
on_command(uint8_t command_class, uint8_t command, const char *text, uint8_t ack, int64_t us,
           gpointer data)
{
}

static void
vmms_are_served_one_at_a_time(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GMainContext) context = g_main_context_new();
    VdtTrackerOptions options = VDT_TRACKER_OPTIONS_INIT;
    struct vmm vmm = {0}, second = {0};
    uint64_t features = 0;

    options.context = context;
    VdtTracker *tracker = new_tracker(&options, &error);
    vdt_tracker_set_command_func(tracker, on_command, NULL);
    check(connect_vmm(&vmm, tracker, &error), "a VMM is served on a context of its own");
    check(ask_features(&vmm, context, &features) &&
              (features & vdt_tracker_get_features(tracker)) == vdt_tracker_get_features(tracker),
          "it is answered what the tracker offers");
    check_error(connect_vmm(&second, tracker, &error), &error, VDT_ERROR_BUSY,
                "a second one is sent away");
    char byte;
    check(read(second.fd, &byte, 1) == 0 && second.ended == 0, "and hung up on, without a word");
    close(second.fd);
    hang_up(&vmm, context);
    check(vmm.ended == 1 && vmm.orderly, "the first one's end is told once");
    check(connect_vmm(&vmm, tracker, &error), "the next is served");
    vdt_tracker_set_command_func(tracker, NULL, NULL);
    vmm.freed = tracker;
    hang_up(&vmm, context);
    check(vmm.ended == 2 && !vmm.freed, "a tracker may be freed when its VMM goes");

    int pipe_ends[2];
    g_autoptr(VdtTracker) deceived = new_tracker(&options, &error);
    vmm.ended = 0;
    if (pipe(pipe_ends) == 0 && vdt_tracker_serve(deceived, pipe_ends[0], on_ended, &vmm, &error)) {
        vmm.fd = pipe_ends[1];
        hang_up(&vmm, context);
    }
    check(vmm.ended == 1 && !vmm.orderly, "a descriptor that is no socket ends with a reason");
}

int
main(void)
{
    g_autofree char *folder = g_dir_make_tmp("vdt-library-XXXXXX", NULL);

    device_says_what_it_is();
    errors_have_their_codes();
    options_of_other_versions_are_taken_or_refused();
    snapshots_travel(folder);
    devices_are_checked_before_they_are_touched();
    vmms_are_served_one_at_a_time();
    rmdir(folder);
    printf("1..%u\n", count);
    return failures ? 1 : 0;
}
