/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The frontend against a session in another thread, as the built-in guest uses it. */
#include "lib/leak.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "rig.h"
#include "vhost_user/frontend.h"

VDT_SUITE(frontend);

struct pair {
    struct rig rig;
    struct vdt_frontend *frontend;
    GThread *thread;
    int quit; /* atomic */
};

static gpointer
serve(gpointer data)
{
    struct pair *p = data;

    while (!__atomic_load_n(&p->quit, __ATOMIC_ACQUIRE))
        g_main_context_iteration(p->rig.context, TRUE);
    return NULL;
}

static void
pair_init(struct pair *p, uint64_t protocol)
{
    g_autoptr(GError) error = NULL;

    rig_init(&p->rig);
    p->quit = 0;
    p->frontend = vdt_frontend_new(dup(p->rig.peer), 5000);
    p->rig.replies.fd = vdt_close(p->rig.replies.fd);
    p->thread = g_thread_new("backend", serve, p);
    cr_assert(vdt_frontend_negotiate(p->frontend, protocol, &error), "%s", error->message);
}

/* The journal is ours to read afterwards. */
static void
pair_stop(struct pair *p)
{
    __atomic_store_n(&p->quit, 1, __ATOMIC_RELEASE);
    g_main_context_wakeup(p->rig.context);
    g_thread_join(p->thread);
}

static void
pair_clear(struct pair *p)
{
    vdt_frontend_free(p->frontend);
    rig_clear(&p->rig);
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        g_autoptr(GError) error = NULL;                                                            \
        cr_assert(call, #call ": %s", error ? error->message : "no error set");                    \
    } while (0)

static void
run_a_life(struct vdt_frontend *f, int memory, int event, int log)
{
    struct vhost_user_region r = rig_region(0), r1 = rig_region(1);
    struct vdt_region_spec spec = {r.gpa, r.size, r.frontend, r.offset, memory};
    struct vdt_region_spec spec1 = {r1.gpa, r1.size, r1.frontend, r1.offset, memory};
    struct vhost_user_vring_addr addr = rig_addr_of(0, 0);
    uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56}, config[8], status;
    uint64_t value;
    uint32_t base;

    OK(vdt_frontend_get_features(f, &value, &error));
    cr_assert(value & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES));
    OK(vdt_frontend_get_queue_num(f, &value, &error));
    cr_assert_eq(value, RIG_RINGS);
    OK(vdt_frontend_set_features(f, 1ull << 32 | 1ull << 30, &error));
    OK(vdt_frontend_get_config(f, 2, config, sizeof(config), &error));
    cr_assert_eq(config[7], 9);
    OK(vdt_frontend_set_config(f, 0, mac, 6, 0, &error));
    OK(vdt_frontend_set_mtu(f, 1500, &error));
    OK(vdt_frontend_set_memory(f, &spec, 1, &error));
    OK(vdt_frontend_get_max_slots(f, &value, &error));
    OK(vdt_frontend_add_region(f, &spec1, &error));
    OK(vdt_frontend_remove_region(f, &spec1, &error));
    OK(vdt_frontend_set_status(f, 0xb, &error));
    OK(vdt_frontend_get_status(f, &status, &error));
    cr_assert_eq(status, 0xb);
    OK(vdt_frontend_set_num(f, 0, 256, &error));
    OK(vdt_frontend_set_base(f, 0, 0, &error));
    OK(vdt_frontend_set_addr(f, &addr, &error));
    OK(vdt_frontend_set_call(f, 0, event, &error));
    OK(vdt_frontend_set_err(f, 0, -1, &error));
    OK(vdt_frontend_set_kick(f, 0, event, &error));
    OK(vdt_frontend_set_enable(f, 0, true, &error));
    OK(vdt_frontend_set_log(f, log, 0, 64, &error));
    OK(vdt_frontend_send_rarp(f, mac, &error));
    OK(vdt_frontend_get_base(f, 0, &base, &error));
    cr_assert_eq(base, 100);
    OK(vdt_frontend_reset_device(f, &error));
}

Test(frontend, leads_a_backend_through_its_life)
{
    static const uint64_t sets[] = {
        RIG_PROTOCOL, RIG_PROTOCOL & ~VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK)};
    VDT_AUTO_FD memory = vdt_memfd("guest", 4 * RIG_MIB, NULL);
    VDT_AUTO_FD log = vdt_memfd("log", 4096, NULL);
    VDT_AUTO_FD event = vdt_eventfd(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(sets); i++) {
        struct pair p;
        pair_init(&p, sets[i]);
        run_a_life(p.frontend, memory, event, log);
        /* An answered request proves that those before it were handled. */
        uint64_t value;
        OK(vdt_frontend_get_features(p.frontend, &value, &error));
        pair_stop(&p);
        cr_assert_str_eq(p.rig.journal->str,
                         "features=split config0+6=52 mtu=1500 memory=1 memory=2 memory=1 status=b "
                         "num0=256 base0=0 addr0 call0 err0 kick0 on0 log=64 rarp stop0 reset");
        cr_assert_eq(memcmp(p.rig.rarp, "\x52\x54\x00\x12\x34\x56", 6), 0);
        pair_clear(&p);
    }
}

Test(frontend, carries_state_out_and_in)
{
    g_autoptr(GByteArray) state = NULL;
    g_autoptr(GError) refusal = NULL;
    struct pair p;

    pair_init(&p, RIG_PROTOCOL);
    OK((state = vdt_frontend_save(p.frontend, 100, &error)));
    cr_assert_eq(state->len, 5);
    cr_assert_eq(memcmp(state->data, "state", 5), 0);
    OK(vdt_frontend_load(p.frontend, state->data, state->len, &error));
    cr_assert_not(vdt_frontend_load(p.frontend, state->data, 3, &refusal));
    cr_assert(g_error_matches(refusal, VDT_ERROR, VDT_ERROR_REFUSED));
    g_clear_error(&refusal);
    cr_assert_null(vdt_frontend_save(p.frontend, 4, &refusal), "more than was allowed");
    cr_assert(g_error_matches(refusal, VDT_ERROR, VDT_ERROR_INVALID));
    pair_stop(&p);
    pair_clear(&p);
}

Test(frontend, fetches_and_returns_an_inflight_area)
{
    struct vhost_user_inflight area;
    VDT_AUTO_FD fd = -1;
    g_autoptr(GError) refusal = NULL;
    int none = -1;
    struct pair p;

    pair_init(&p, RIG_PROTOCOL);
    OK(vdt_frontend_get_inflight(p.frontend, 2, 256, &area, &fd, &error));
    OK(vdt_frontend_set_inflight(p.frontend, &area, fd, &error));
    cr_assert_not(vdt_frontend_get_inflight(p.frontend, 99, 256, &area, &none, &refusal));
    cr_assert(g_error_matches(refusal, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_assert_eq(none, -1);
    pair_stop(&p);
    pair_clear(&p);
}

Test(frontend, hears_a_refusal_from_the_call_that_caused_it)
{
    g_autoptr(GError) refusal = NULL;
    uint64_t value;
    struct pair p;

    pair_init(&p, RIG_PROTOCOL);
    cr_assert_not(vdt_frontend_set_num(p.frontend, 99, 256, &refusal));
    cr_assert(g_error_matches(refusal, VDT_ERROR, VDT_ERROR_REFUSED));
    OK(vdt_frontend_get_features(p.frontend, &value, &error)); /* the connection goes on */
    pair_stop(&p);
    pair_clear(&p);
}

static gboolean
change_config(gpointer data)
{
    vdt_session_config_changed(((struct pair *) data)->rig.session);
    return G_SOURCE_REMOVE;
}

Test(frontend, waits_for_a_config_change)
{
    struct pair p;

    pair_init(&p, RIG_PROTOCOL);
    cr_assert_not(vdt_frontend_wait_config_changed(p.frontend, 0));
    g_main_context_invoke(p.rig.context, change_config, &p);
    cr_assert(vdt_frontend_wait_config_changed(p.frontend, 5000));
    cr_assert_not(vdt_frontend_wait_config_changed(p.frontend, 0));
    pair_stop(&p);
    pair_clear(&p);
}

Test(frontend, does_not_wait_for_ever)
{
    g_autoptr(GError) late = NULL;
    uint64_t value;
    int pair[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    VDT_AUTO_FD silent = pair[1];
    VDT_AUTO(frontend) f = vdt_frontend_new(pair[0], 20);
    cr_assert_not(vdt_frontend_get_features(f, &value, &late));
    cr_assert(g_error_matches(late, VDT_ERROR, VDT_ERROR_TIMEOUT));
    g_clear_error(&late);
    silent = vdt_close(silent);
    cr_assert_not(vdt_frontend_get_features(f, &value, &late));
}

Test(frontend, names_a_socket_that_is_not_there)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_strnfill(200, 'x');

    cr_assert_null(vdt_frontend_connect("/nonexistent/socket", 100, &error));
    cr_assert_not_null(strstr(error->message, "/nonexistent/socket"));
    g_clear_error(&error);
    cr_assert_null(vdt_frontend_connect(path, 100, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
}
