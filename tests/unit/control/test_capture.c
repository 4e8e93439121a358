/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Capture by the relay and replay into a fresh device, as one property. */
#include "lib/leak.h"

#include "base/wire.h"
#include "control/replay.h"
#include "lib/fake_control_path.h"

VDT_SUITE(capture);

static const struct vdt_ring_format split = {.kind = VDT_RING_SPLIT, .num = 64};

/* A random command that is allowed as the model stands. */
static uint32_t
random_command(GRand *rand, uint8_t *class, uint8_t *command, uint8_t *data)
{
    static const uint8_t kinds[][2] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {1, 0},
                                       {1, 1}, {2, 0}, {2, 0}, {2, 1}, {3, 0}, {4, 0}, {4, 1},
                                       {4, 2}, {5, 0}, {6, 0}, {6, 1}, {6, 2}, {6, 2}};
    const uint8_t *kind = kinds[g_rand_int_range(rand, 0, G_N_ELEMENTS(kinds))];
    uint32_t n, m;

    *class = kind[0];
    *command = kind[1];
    switch (kind[0] << 8 | kind[1]) {
    case 0x100:
        n = (uint32_t) g_rand_int_range(rand, 0, 20);
        m = (uint32_t) g_rand_int_range(rand, 0, 20);
        for (uint32_t i = 0; i < 8 + 6 * (n + m); i++)
            data[i] = (uint8_t) g_rand_int(rand);
        vdt_put32(data, n);
        vdt_put32(data + 4 + 6 * n, m);
        return 8 + 6 * (n + m);
    case 0x101:
        vdt_put64(data, g_rand_int(rand));
        data[0] &= 0xfe;
        return 6;
    case 0x200:
    case 0x201:
        vdt_put16(data, (uint16_t) g_rand_int_range(rand, 0, 40));
        return 2;
    case 0x300:
        return 0;
    case 0x400:
        vdt_put16(data, (uint16_t) g_rand_int_range(rand, 1, 33));
        return 2;
    case 0x401:
        n = 1u << g_rand_int_range(rand, 0, 8);
        m = (uint32_t) g_rand_int_range(rand, 0, 41);
        vdt_put32(data, g_rand_int(rand));
        vdt_put16(data + 4, (uint16_t) (n - 1));
        vdt_put16(data + 6, (uint16_t) g_rand_int_range(rand, 0, 32));
        for (uint32_t i = 0; i < n; i++)
            vdt_put16(data + 8 + 2 * i, (uint16_t) g_rand_int_range(rand, 0, 32));
        vdt_put16(data + 8 + 2 * n, (uint16_t) g_rand_int_range(rand, 1, 33));
        data[10 + 2 * n] = (uint8_t) m;
        memset(data + 11 + 2 * n, (int) n, m);
        return 11 + 2 * n + m;
    case 0x402:
        m = (uint32_t) g_rand_int_range(rand, 0, 41);
        vdt_put32(data, g_rand_int(rand));
        vdt_put64(data + 4, 0);
        data[12] = (uint8_t) m;
        memset(data + 13, 0x33, m);
        return 13 + m;
    case 0x500:
        vdt_put64(data, g_rand_boolean(rand) ? 0x182 : 2);
        return 8;
    case 0x600:
    case 0x601:
        vdt_put64(data, g_rand_int(rand));
        return 8;
    case 0x602:
        vdt_put32(data, (uint32_t) g_rand_int_range(rand, 0, 64));
        vdt_put64(data + 4, g_rand_int(rand));
        return 12;
    default:
        data[0] = (uint8_t) g_rand_boolean(rand);
        return 1;
    }
}

Test(capture, what_was_captured_and_replayed_is_what_the_device_held)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(20);

    for (unsigned round = 0; round < 300; round++) {
        struct fake_cvq_device *fresh = fake_cvq_device_new(&split, VDT_COMMAND_MAX, 8192);
        struct vdt_device_cvq *fresh_cvq = vdt_device_cvq_new(&fresh->config);
        struct vdt_replay_report report = {0};
        const int count = g_rand_int_range(rand, 0, 40);

        struct fake_control_path *path =
            fake_control_path_new(&(struct fake_control_options){.ring = split});
        fake_cvq_device_start(fresh);
        for (int n = 0; n < count; n++) {
            uint8_t class, command, data[4096];
            uint32_t len = random_command(rand, &class, &command, data);

            cr_assert_eq(fake_control_path_do(path, class, command, data, len), VDT_ACK_OK,
                         "class %u command %u", class, command);
        }
        cr_assert(vdt_net_state_equal(&path->model.state, &path->fake->state));
        cr_assert(vdt_replay(&path->model.state, ~0ull, fresh_cvq, 2000, &report, NULL));
        if (!vdt_net_state_equal(&path->model.state, &fresh->state)) {
            g_autoptr(GPtrArray) lines = vdt_net_state_diff(&path->model.state, &fresh->state);
            cr_assert_fail("round %u: %s", round, (char *) lines->pdata[0]);
        }
        vdt_replay_report_clear(&report);
        vdt_device_cvq_free(fresh_cvq);
        fake_cvq_device_free(fresh);
        fake_control_path_free(path);
    }
}
