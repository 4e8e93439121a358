/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of verbs, and the way to them. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpa-tracker/verb.h"

#include "base/log.h"
#include "device/sim_options.h"

static int help(const struct vdt_verb *verb, int argc, char **argv);

/* In the order of a first day's work. */
static const struct vdt_verb verbs[] = {
    {"run", "--name NAME --device DEVICE", "own a vDPA device and serve one guest NIC from it",
     "Own DEVICE and offer it to a VMM as a vhost-user network device.\n\n"
     "DEVICE is vhost-vdpa:/dev/vhost-vdpa-N, or sim:[options] for the built-in simulator, whose\n"
     "options \"vdpa-tracker help sim\" lists.\n"
     "The VMM connects to the vhost-user socket, by default NAME.sock in the runtime directory\n"
     "(/run/vdpa-tracker, or $VDPA_TRACKER_RUNTIME_DIR); NAME.ctl there is for the other verbs.\n\n"
     "  vdpa-tracker run --name web --device vhost-vdpa:/dev/vhost-vdpa-0\n"
     "  qemu-system-x86_64 ... -chardev socket,id=c,path=/run/vdpa-tracker/web.sock \\\n"
     "    -netdev vhost-user,id=n,chardev=c -device virtio-net-pci,netdev=n",
     vdt_verb_run},
    {"list", "", "vDPA devices of this host, and running trackers",
     "List the vDPA devices of this host and who has them, and the trackers that run, without "
     "opening\n"
     "a device. No privilege is needed; what could not be read is said on standard error.\n\n"
     "  vdpa-tracker list\n"
     "  vdpa-tracker list --json | jq '.devices[] | select(.use == \"free\").node'",
     vdt_verb_list},
    {"status", "NAME", "what a running tracker does: mode, rings, features, control state",
     "Show what tracker NAME does now, and why.\n\n"
     "  vdpa-tracker status web\n"
     "  vdpa-tracker status web --json | jq .rings[0]",
     vdt_verb_status},
    {"top", "", "all trackers live: rates, phases, dirty pages",
     "Show all trackers of this host, once a second: what they carry, where they stand, what is\n"
     "wrong. On a terminal until q or Ctrl-C, elsewhere one table a turn.\n\n"
     "  vdpa-tracker top\n"
     "  vdpa-tracker top --interval 0.5 --count 10 --json",
     vdt_verb_top},
    {"metrics", "[NAME]", "what all trackers do, as OpenMetrics text",
     "Print what tracker NAME, or every tracker of this host, says of itself as OpenMetrics text,\n"
     "for a collector such as Prometheus.\n\n"
     "  vdpa-tracker metrics\n"
     "  vdpa-tracker metrics web | grep in_flight",
     vdt_verb_metrics},
    {"watch", "", "libvirt's migrations of domains with trackers, as they go",
     "Connect to libvirt, read-only, and print a line for each phase of each migration of a "
     "domain\n"
     "whose NICs have trackers (\"attach\"), with its times, and for what these trackers say of "
     "it.\n"
     "A connection that breaks is opened again, and everything looked at anew. Ends with "
     "Ctrl-C.\n\n"
     "  vdpa-tracker watch --connect qemu:///system\n"
     "  vdpa-tracker watch --json --metrics-file /var/lib/node_exporter/vdpa-watch.prom",
     vdt_verb_watch},
    {"filter", "NAME FILE|--qmp SOCKET", "tell a device what its guest wants, which QEMU keeps",
     "A QEMU answers its guest's control commands itself, so that the device behind tracker NAME "
     "has\n"
     "to let everything through. Take what the guest wants from there: once from FILE, an answer "
     "to\n"
     "query-rx-filter, or from QEMU's monitor at SOCKET, again whenever it changes.\n\n"
     "  vdpa-tracker filter web --qmp /run/web.qmp --nic net0",
     vdt_verb_filter},
    {"trace", "NAME", "the guest's control commands as they pass, decoded",
     "Print each control queue command of tracker NAME once it is answered: time, command, the\n"
     "device's answer, and how long it took. Ends with the tracker, by --count, or by Ctrl-C.\n\n"
     "  vdpa-tracker trace web\n"
     "  vdpa-tracker trace web --json --count 1",
     vdt_verb_trace},
    {"snapshot", "NAME", "the state of a running tracker, without stopping the guest",
     "Write the state of tracker NAME to a file or to standard output. Of a running guest it is\n"
     "marked live: its control state is exact, its rings are for information.\n\n"
     "  vdpa-tracker snapshot web -o web.vdts\n"
     "  vdpa-tracker snapshot web | vdpa-tracker show -",
     vdt_verb_snapshot},
    {"restore", "NAME [FILE]", "give a snapshot to a running tracker",
     "Give a snapshot (FILE, or standard input) to tracker NAME. A live one: its control state is\n"
     "replayed into the device at once where a guest runs. One of a stopped guest: taken before\n"
     "the guest starts, with the rings' positions and what was in flight.\n\n"
     "  vdpa-tracker restore web web.vdts\n"
     "  ssh source vdpa-tracker snapshot web | vdpa-tracker restore web -",
     vdt_verb_restore},
    {"show", "FILE", "a snapshot as text or JSON",
     "Show what a snapshot holds. FILE may be - for standard input.\n\n"
     "  vdpa-tracker show web.vdts\n"
     "  vdpa-tracker show --json web.vdts | jq .control",
     vdt_verb_show},
    {"diff", "FILE FILE", "two snapshots, field by field",
     "Compare two snapshots field by field.\n\n"
     "  vdpa-tracker diff before.vdts after.vdts",
     vdt_verb_diff,
     .exits = "0  equal      1  they differ      2  a file cannot be read, or wrong usage"},
    {"demo", "", "a whole live migration, without any hardware",
     "Start two trackers with a simulated device each, and a small guest in this process. Under\n"
     "traffic and control commands its memory is copied in rounds; then its device state crosses\n"
     "to the second tracker, and it goes on there. In the end every chain, every page and the\n"
     "destination device's own state are accounted for. Exit code 0: nothing lost, missed or\n"
     "doubled.\n\n"
     "  vdpa-tracker demo\n"
     "  vdpa-tracker demo --json --rings packed --out-of-order --seed 7\n"
     "  vdpa-tracker demo --vlans 4094",
     vdt_verb_demo},
    {"ci-migrate", "--source DEVICE --destination DEVICE",
     "a migration between two devices, as test cases for a CI system",
     "Migrate a guest of our own from one device to another and back, check whatever can be known\n"
     "of it, and write a JUnit file. What these devices do not allow to be checked is skipped,\n"
     "with the reason. Two devices of this host, both free.\n\n"
     "  vdpa-tracker ci-migrate --source vhost-vdpa:/dev/vhost-vdpa-0 \\\n"
     "    --destination vhost-vdpa:/dev/vhost-vdpa-1 --junit results.xml --max-downtime 200\n"
     "  vdpa-tracker ci-migrate --source sim:pairs=4 --destination sim:pairs=4 --rings packed",
     vdt_verb_ci_migrate,
     .exits = "0  nothing failed      1  something did, or the test could not be held\n"
              "  2  wrong usage"},
    {"check", "--from FILE|DEVICE --to DEVICE", "would that device take this state?",
     "Say whether DEVICE can take the state in FILE, or whatever another DEVICE can hold, or what "
     "a\n"
     "baseline FILE promises: every reason why not, before anything is stopped. Exit code 0: it "
     "can,\n"
     "3: it cannot.\n\n"
     "  vdpa-tracker check --from web.vdts --to vhost-vdpa:/dev/vhost-vdpa-1\n"
     "  vdpa-tracker check --from sim:pairs=4 --to sim:pairs=2",
     vdt_verb_check},
    {"baseline", "DEVICE|FILE...", "what several devices can all give a guest",
     "Print the features, queue pairs, ring size, MTU and RSS limits that every DEVICE can give a\n"
     "guest. FILE is a snapshot, for the device that it was taken from, or another baseline. A "
     "guest\n"
     "of \"run --features-from\" such a file can go to each of these devices, and back.\n\n"
     "  vdpa-tracker baseline vhost-vdpa:/dev/vhost-vdpa-0 other-host.vdts >fleet.conf\n"
     "  vdpa-tracker run --name web --device sim:pairs=4 --features-from fleet.conf",
     vdt_verb_baseline},
    {"replay", "FILE --device DEVICE", "replay a snapshot's control state into a device",
     "Bring DEVICE up, replay the control state in FILE into it, one line a command with the\n"
     "device's answer and the time, and read it back where the device can be read. The device is\n"
     "reset afterwards. Exit code 0: the state took, 3: the device refused.\n\n"
     "  vdpa-tracker replay web.vdts --device vhost-vdpa:/dev/vhost-vdpa-1",
     vdt_verb_replay},
    {"swap", "NAME --device DEVICE", "move a running guest's NIC to another device",
     "Move the NIC of the guest behind tracker NAME to another device of this host, while the\n"
     "guest runs. If the other device does not take the state, the guest goes on with the "
     "first.\n\n"
     "  vdpa-tracker swap web --device vhost-vdpa:/dev/vhost-vdpa-1",
     vdt_verb_swap},
    {"attach", "DOMAIN MAC vdpa:NAME", "make a NIC of a libvirt domain one of a tracker",
     "Let the NIC of address MAC of libvirt's DOMAIN (its name or UUID) be served by a tracker on\n"
     "the device that each host calls vdpa:NAME in /etc/vdpa-tracker/devices.conf: the domain "
     "gets\n"
     "metadata that the hook of each host reads, and a vhostuser interface that reconnects.\n\n"
     "  vdpa-tracker attach web1 52:54:00:12:34:56 vdpa:blue\n"
     "  vdpa-tracker attach web1 52:54:00:12:34:56 vdpa:blue --features-from fleet.conf --print",
     vdt_verb_attach},
    {"hook", "DOMAIN OPERATION [SUBOPERATION [EXTRA]]", "what libvirt's qemu hook calls",
     "Carry out what libvirt's qemu hook is called for, with the domain's XML on standard input:\n"
     "prepare brings up a tracker for each NIC that attach has marked, release takes it down,\n"
     "reconnect brings back one that has gone. Installed as qemu.d/50-vdpa-tracker.\n\n"
     "  virsh dumpxml web1 | vdpa-tracker hook web1 prepare",
     vdt_verb_hook},
    {"help", "[VERB|sim]", "this, all about one verb, or the simulated device's options",
     "Explain VERB, or list the options of sim:.", help},
};

const struct vdt_verb *
vdt_verb_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (g_str_equal(verbs[i].name, name))
            return &verbs[i];
    }
    return NULL;
}

static void
print_help(void)
{
    printf(
        "Usage: vdpa-tracker VERB ...\n\n"
        "Makes a virtual machine with a vDPA network device migratable: owns the device, follows\n"
        "its rings and its control queue, and carries that state to another device.\n\n");
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++)
        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    printf(
        "\nA first try, without any hardware:\n\n"
        "  vdpa-tracker demo\n\n"
        "  export VDPA_TRACKER_RUNTIME_DIR=/tmp/vdpa-tracker\n"
        "  vdpa-tracker run --name try --device sim: &\n"
        "  vdpa-tracker status try\n\n"
        "\"vdpa-tracker help VERB\" explains one of them.\n\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused: the state cannot be carried.\n");
}

static void
print_sim_help(void)
{
    g_autofree char *options = vdt_sim_options_help();

    printf("sim:[OPTION,...] is a virtio network device inside the process. Options:\n\n%s",
           options);
}

static int
help(const struct vdt_verb *verb, int argc, char **argv)
{
    if (argc < 2) {
        print_help();
        return VDT_EXIT_DONE;
    }
    if (g_str_equal(argv[1], "sim")) {
        print_sim_help();
        return VDT_EXIT_DONE;
    }
    const struct vdt_verb *about = vdt_verb_find(argv[1]);
    if (!about) {
        fprintf(stderr, "vdpa-tracker: there is no verb \"%s\"\n", argv[1]);
        return VDT_EXIT_USAGE;
    }
    if (about->run == help) {
        print_help();
        return VDT_EXIT_DONE;
    }
    char *words[] = {argv[1], (char *) "--help", NULL};
    return about->run(about, 2, words);
}

/* Whoever starts us may have closed these. The next descriptor that is opened would take their
 * place, and a message or a snapshot would go to a device or a peer. */
static bool
fill_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR); /* stays open: not for us alone */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd < 0) {
        fprintf(stderr, "vdpa-tracker: cannot open /dev/null: %s\n", strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

/* What did not reach standard output is no success, with no message for who has seen enough. */
static int
end_output(int exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    if (errno != EPIPE)
        fprintf(stderr, "vdpa-tracker: cannot write to standard output: %s\n", g_strerror(errno));
    return exit_code == VDT_EXIT_DONE ? VDT_EXIT_FAILED : exit_code;
}

/* Management layers start a vhost-user backend by these options, and know no verbs. */
static bool
is_backend_option(const char *word)
{
    static const char *const options[] = {"--print-capabilities", "--socket-path", "--fd"};

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        size_t len = strlen(options[i]);

        if (strncmp(word, options[i], len) == 0 && (word[len] == '\0' || word[len] == '='))
            return true;
    }
    return false;
}

int
main(int argc, char **argv)
{
    if (!fill_standard_fds())
        return VDT_EXIT_FAILED;
    setlocale(LC_ALL, "");
    signal(SIGPIPE, SIG_IGN);
    g_set_prgname("vdpa-tracker");
    vdt_log_init(VDT_LOG_WARNING);

    if (argc < 2) {
        fprintf(stderr, "vdpa-tracker: which verb? \"vdpa-tracker help\" lists them.\n");
        return VDT_EXIT_USAGE;
    }
    if (g_str_equal(argv[1], "--help") || g_str_equal(argv[1], "-h")) {
        print_help();
        return end_output(VDT_EXIT_DONE);
    }
    if (g_str_equal(argv[1], "--version")) {
        puts("vdpa-tracker " VDT_VERSION);
        return end_output(VDT_EXIT_DONE);
    }
    if (is_backend_option(argv[1])) {
        const struct vdt_verb *run = vdt_verb_find("run");

        return end_output(run->run(run, argc, argv));
    }
    const struct vdt_verb *verb = vdt_verb_find(argv[1]);
    if (!verb) {
        fprintf(stderr,
                "vdpa-tracker: there is no verb \"%s\"; \"vdpa-tracker help\" lists them.\n",
                argv[1]);
        return VDT_EXIT_USAGE;
    }
    return end_output(verb->run(verb, argc - 1, argv + 1));
}
