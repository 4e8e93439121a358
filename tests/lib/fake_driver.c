/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/fake_driver.h"

#include <string.h>

#include "base/fd.h"

struct fake_driver *
fake_driver_new(const struct vdt_ring_format *format, struct vdt_ring_pos pos)
{
    struct fake_driver *driver = g_new0(struct fake_driver, 1);
    VDT_AUTO_FD fd = vdt_memfd("fake-guest", FAKE_MEMORY, NULL);
    const struct vdt_region_spec spec = {FAKE_GPA, FAKE_MEMORY, 0x7f0000000000, 0, fd};

    driver->format = *format;
    driver->map = vdt_guest_map_from_table(&spec, 1, NULL);
    driver->host = vdt_guest_map_at(driver->map, FAKE_GPA, FAKE_MEMORY);
    driver->gpa = (struct vdt_ring_addr){FAKE_GPA, FAKE_GPA + 0x8000, FAKE_GPA + 0xc000};
    driver->mem = (struct vdt_ring_mem){driver->host, driver->host + 0x8000, driver->host + 0xc000};
    vdt_device_ring_init(&driver->ring, format, &driver->mem, pos);
    driver->kick_fd = vdt_eventfd(NULL);
    driver->call_fd = vdt_eventfd(NULL);
    driver->cursor = FAKE_BUFFERS;
    driver->in_off = g_new0(uint32_t, format->num);
    return driver;
}

void
fake_driver_free(struct fake_driver *driver)
{
    vdt_device_ring_clear(&driver->ring);
    vdt_guest_map_unref(driver->map);
    vdt_close(driver->kick_fd);
    vdt_close(driver->call_fd);
    g_free(driver->in_off);
    g_free(driver);
}

uint16_t
fake_driver_post(struct fake_driver *driver, struct vdt_seg *segs, uint32_t count)
{
    struct vdt_chain chain = {
        .seg = segs,
        .capacity = count,
        .count = count,
        .direct = count,
        .slots = (uint16_t) count,
    };
    uint16_t id = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (i + 1 < count)
            segs[i].flags |= VDT_SEG_NEXT;
        if (segs[i].flags & VDT_SEG_WRITE)
            chain.writable += segs[i].len;
        else
            chain.readable += segs[i].len;
    }
    g_assert(vdt_device_ring_lay(&driver->ring, &chain, &id));
    vdt_device_ring_post(&driver->ring, &chain, id, 0, 0);
    return id;
}

uint16_t
fake_driver_send(struct fake_driver *driver, uint8_t class, uint8_t command, const void *data,
                 uint32_t len, uint32_t cut, uint32_t room)
{
    const uint32_t out_len = 2 + len;
    g_autofree struct vdt_seg *segs = g_new0(struct vdt_seg, driver->format.num);
    uint32_t count = 0, out, in;
    uint16_t id;

    if (driver->cursor + out_len + room > FAKE_MEMORY)
        driver->cursor = FAKE_BUFFERS;
    out = driver->cursor;
    in = out + out_len;
    driver->cursor = in + room;
    driver->host[out] = class;
    driver->host[out + 1] = command;
    if (len > 0)
        memcpy(driver->host + out + 2, data, len);
    memset(driver->host + in, 0xee, room);
    for (uint32_t at = 0; at < out_len;) {
        uint32_t part = cut ? MIN(cut, out_len - at) : out_len;
        segs[count++] = (struct vdt_seg){.addr = FAKE_GPA + out + at, .len = part};
        at += part;
    }
    for (uint32_t at = 0; at < room;) {
        uint32_t part = cut ? MIN(cut, room - at) : room;
        segs[count++] =
            (struct vdt_seg){.addr = FAKE_GPA + in + at, .len = part, .flags = VDT_SEG_WRITE};
        at += part;
    }
    id = fake_driver_post(driver, segs, count);
    driver->in_off[id] = in;
    return id;
}

void
fake_driver_kick(struct fake_driver *driver)
{
    if (vdt_device_ring_publish(&driver->ring)) {
        driver->kicks_wanted++;
        vdt_event_signal(driver->kick_fd);
    }
}

bool
fake_driver_collect(struct fake_driver *driver, struct vdt_used *ret_used)
{
    enum vdt_reap reap = vdt_device_ring_reap(&driver->ring, ret_used);

    g_assert(reap != VDT_REAP_BROKEN);
    return reap == VDT_REAP_USED;
}

const uint8_t *
fake_driver_answer(const struct fake_driver *driver, uint16_t id)
{
    return driver->host + driver->in_off[id];
}
