/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/frames.h"

#include <string.h>

#include "lib/leak.h"

VDT_SUITE(frames);

static struct vdt_frames frames;
static uint8_t buffer[VDT_FRAME_MAX + 4];
static struct vdt_frame_plan plan = {{0x52, 1}, {0x52, 2}, -1, 200};

static enum vdt_frame_verdict
take(uint64_t *ret_number)
{
    return vdt_frames_take(&frames, buffer, plan.len, ret_number);
}

Test(frames, a_frame_of_any_length_comes_back_once)
{
    uint64_t number;

    vdt_frames_init(&frames, 3);
    for (plan.len = VDT_FRAME_MIN; plan.len <= VDT_FRAME_MAX; plan.len++) {
        plan.vlan = plan.len % 3 ? -1 : 77;
        uint64_t made = vdt_frames_make(&frames, &plan, buffer);
        cr_assert_eq(take(&number), VDT_FRAME_NEW);
        cr_assert_eq(number, made);
    }
    cr_expect_eq(frames.received, frames.sent);
    vdt_frames_clear(&frames);
}

Test(frames, a_frame_that_comes_again_is_a_duplicate)
{
    uint64_t number;

    vdt_frames_init(&frames, 3);
    vdt_frames_make(&frames, &plan, buffer);
    cr_expect_eq(take(&number), VDT_FRAME_NEW);
    cr_expect_eq(take(&number), VDT_FRAME_AGAIN);
    cr_expect_eq(frames.duplicated, 1);
    cr_expect_eq(frames.received, 1);
    vdt_frames_clear(&frames);
}

/* All but the first twelve bytes, the addresses, follow from the number. */
Test(frames, a_changed_byte_is_noticed)
{
    uint64_t number;

    vdt_frames_init(&frames, 3);
    for (unsigned i = 14; i < plan.len; i++) {
        vdt_frames_make(&frames, &plan, buffer);
        buffer[i] ^= 0x10;
        cr_expect_eq(take(&number), VDT_FRAME_CORRUPT, "byte %u", i);
    }
    cr_expect_eq(frames.received, 0);
    vdt_frames_clear(&frames);
}

/* A network has other stations. What has lost its sender, or has any mark of ours, is no such
 * frame. */
Test(frames, a_frame_of_another_station_is_told_apart)
{
    static const uint8_t other[] = {0x02, 0, 0, 0, 0, 7};
    uint64_t number;

    vdt_frames_init(&frames, 3);
    vdt_frames_make(&frames, &plan, buffer);
    memcpy(buffer + 6, other, 6);
    buffer[20] ^= 1;
    cr_expect_eq(take(&number), VDT_FRAME_CORRUPT);
    cr_expect_eq(frames.foreign, 0, "it has our mark");
    frames.run = 1;
    cr_expect_eq(take(&number), VDT_FRAME_CORRUPT);
    cr_expect_eq(frames.foreign, 1, "it has the mark of another run");
    frames.run = 0;
    memset(buffer + 12, 0, sizeof(buffer) - 12);
    cr_expect_eq(take(&number), VDT_FRAME_CORRUPT);
    cr_expect_eq(frames.foreign, 2);
    cr_expect_eq(vdt_frames_take(&frames, buffer, 60, &number), VDT_FRAME_CORRUPT);
    cr_expect_eq(frames.foreign, 3, "a short one");
    memset(buffer + 6, 0, 6);
    cr_expect_eq(take(&number), VDT_FRAME_CORRUPT);
    cr_expect_eq(frames.foreign, 3, "nobody has sent it");
    cr_expect_eq(frames.corrupt, 5);
    vdt_frames_clear(&frames);
}

Test(frames, a_truncated_or_foreign_frame_is_corrupt)
{
    uint64_t number;

    vdt_frames_init(&frames, 3);
    vdt_frames_make(&frames, &plan, buffer);
    cr_expect_eq(vdt_frames_take(&frames, buffer, plan.len - 1, &number), VDT_FRAME_CORRUPT);
    cr_expect_eq(vdt_frames_take(&frames, buffer, 0, &number), VDT_FRAME_CORRUPT);
    memset(buffer, 0, sizeof(buffer));
    cr_expect_eq(take(&number), VDT_FRAME_CORRUPT);
    vdt_frames_clear(&frames);
}
