/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/frames.h"

#include <string.h>

#include "base/wire.h"

#define ETHERNET 14u
#define TAG 4u
#define IP 20u
#define UDP 8u
#define PAYLOAD 20u /* magic, number, length, and what the rest is made from */
#define MAGIC 0x76647467u

void
vdt_frames_init(struct vdt_frames *frames, uint64_t seed)
{
    *frames = (struct vdt_frames){.seed = seed, .seen = g_byte_array_new()};
}

void
vdt_frames_clear(struct vdt_frames *frames)
{
    g_clear_pointer(&frames->seen, g_byte_array_unref);
}

static void
put_be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t) (v >> 8);
    p[1] = (uint8_t) v;
}

/* splitmix64: well spread, and the same everywhere. */
static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static void
fill_pattern(uint8_t *p, uint32_t len, uint64_t key)
{
    while (len >= 8) {
        vdt_put64(p, key);
        key = key * 6364136223846793005ull + 1442695040888963407ull;
        p += 8;
        len -= 8;
    }
    for (uint32_t i = 0; i < len; i++)
        p[i] = (uint8_t) (key >> 8 * i);
}

static uint64_t
key_of(const struct vdt_frames *frames, uint64_t number)
{
    return mix(frames->seed ^ number ^ (uint64_t) frames->run << 32);
}

/* Everything behind the Ethernet header. */
static void
fill_rest(uint8_t *p, uint32_t len, uint64_t number, uint64_t key)
{
    memset(p, 0, IP + UDP);
    p[0] = 0x45;
    put_be16(p + 2, len);
    p[8] = 64;
    p[9] = 17;
    vdt_put32(p + 12, 0x0a000000u | (uint32_t) (key & 0xffff));
    vdt_put32(p + 16, 0x0a010000u | (uint32_t) (key >> 16 & 0xffff));
    put_be16(p + IP, 1024u + (uint32_t) (key >> 32 & 0x3fff));
    put_be16(p + IP + 2, 1024u + (uint32_t) (key >> 46 & 0x3fff));
    put_be16(p + IP + 4, len - IP);
    vdt_put32(p + IP + UDP, MAGIC);
    vdt_put64(p + IP + UDP + 4, number);
    vdt_put64(p + IP + UDP + 12, key);
    fill_pattern(p + IP + UDP + PAYLOAD, len - IP - UDP - PAYLOAD, key);
}

uint64_t
vdt_frames_make(struct vdt_frames *frames, const struct vdt_frame_plan *plan, uint8_t *buffer)
{
    static const uint8_t unseen;
    uint64_t number = frames->sent++;
    uint8_t *p = buffer + 12;

    g_assert(plan->len >= VDT_FRAME_MIN && plan->len <= VDT_FRAME_MAX + TAG);
    memcpy(buffer, plan->to, 6);
    memcpy(buffer + 6, plan->from, 6);
    memcpy(frames->from, plan->from, 6);
    if (plan->vlan >= 0) {
        put_be16(p, 0x8100);
        put_be16(p + 2, (uint32_t) plan->vlan);
        p += TAG;
    }
    put_be16(p, 0x0800);
    p += 2;
    fill_rest(p, plan->len - (uint32_t) (p - buffer), number, key_of(frames, number));
    g_byte_array_append(frames->seen, &unseen, 1);
    return number;
}

static bool
intact(const struct vdt_frames *frames, const uint8_t *buffer, uint32_t len, uint64_t *ret_number)
{
    uint8_t expected[VDT_FRAME_MAX + TAG];
    uint32_t header = ETHERNET;

    if (len < VDT_FRAME_MIN || len > VDT_FRAME_MAX + TAG)
        return false;
    if (buffer[12] == 0x81 && buffer[13] == 0)
        header += TAG;
    const uint8_t *p = buffer + header;
    uint64_t number = vdt_get64(p + IP + UDP + 4);

    if (vdt_get32(p + IP + UDP) != MAGIC || number >= frames->sent)
        return false;
    fill_rest(expected, len - header, number, key_of(frames, number));
    *ret_number = number;
    return memcmp(p, expected, len - header) == 0;
}

/* Nothing of it is ours, and it has a sender. */
static bool
foreign(const struct vdt_frames *frames, const uint8_t *buffer, uint32_t len)
{
    static const uint8_t nobody[6];
    uint32_t header = ETHERNET;

    if (len < ETHERNET || memcmp(buffer + 6, frames->from, 6) == 0 ||
        memcmp(buffer + 6, nobody, 6) == 0 || buffer[6] & 1)
        return false;
    if (buffer[12] == 0x81 && buffer[13] == 0)
        header += TAG;
    const uint8_t *p = buffer + header + IP + UDP;
    return len < header + IP + UDP + PAYLOAD || vdt_get32(p) != MAGIC ||
           vdt_get64(p + 12) != key_of(frames, vdt_get64(p + 4));
}

enum vdt_frame_verdict
vdt_frames_take(struct vdt_frames *frames, const uint8_t *buffer, uint32_t len,
                uint64_t *ret_number)
{
    *ret_number = 0;
    if (!intact(frames, buffer, len, ret_number)) {
        frames->corrupt++;
        frames->foreign += foreign(frames, buffer, len);
        return VDT_FRAME_CORRUPT;
    }
    if (frames->seen->data[*ret_number]) {
        frames->duplicated++;
        return VDT_FRAME_AGAIN;
    }
    frames->seen->data[*ret_number] = 1;
    frames->received++;
    return VDT_FRAME_NEW;
}
