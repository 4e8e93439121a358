/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/ring.h"

#define DESC_SIZE 16u

struct vdt_ring_pos
vdt_ring_pos_initial(enum vdt_ring_kind kind)
{
    uint16_t start = kind == VDT_RING_PACKED ? 0x8000 : 0;

    return (struct vdt_ring_pos){.avail = start, .used = start};
}

size_t
vdt_ring_desc_size(const struct vdt_ring_format *format)
{
    return (size_t) format->num * DESC_SIZE;
}

/* Split: the two event fields are counted whether negotiated or not, as the spec's table (2.7)
 * does. */
size_t
vdt_ring_driver_size(const struct vdt_ring_format *format)
{
    return format->kind == VDT_RING_PACKED ? 4 : 6 + 2 * (size_t) format->num;
}

size_t
vdt_ring_device_size(const struct vdt_ring_format *format)
{
    return format->kind == VDT_RING_PACKED ? 4 : 6 + 8 * (size_t) format->num;
}

bool
vdt_ring_addr_aligned(const struct vdt_ring_format *format, const struct vdt_ring_addr *addr)
{
    uint64_t driver_align = format->kind == VDT_RING_PACKED ? 4 : 2;

    return addr->desc % 16 == 0 && addr->driver % driver_align == 0 && addr->device % 4 == 0;
}

bool
vdt_ring_num_valid(enum vdt_ring_kind kind, uint32_t num)
{
    if (num == 0 || num > VDT_RING_MAX)
        return false;
    return kind == VDT_RING_PACKED || (num & (num - 1)) == 0;
}

bool
vdt_ring_pos_valid(const struct vdt_ring_format *format, struct vdt_ring_pos pos)
{
    uint16_t num = format->num;

    if (format->kind == VDT_RING_SPLIT)
        return (uint16_t) (pos.avail - pos.used) <= num;
    return (pos.avail & 0x7fff) < num && (pos.used & 0x7fff) < num &&
           vdt_packed_distance(pos.used, pos.avail, num) <= num;
}

uint32_t
vdt_ring_pos_to_base(const struct vdt_ring_format *format, struct vdt_ring_pos pos)
{
    if (format->kind == VDT_RING_SPLIT)
        return pos.avail;
    return pos.avail | (uint32_t) pos.used << 16;
}

bool
vdt_ring_pos_from_base(const struct vdt_ring_format *format, uint32_t base,
                       struct vdt_ring_pos *ret_pos)
{
    struct vdt_ring_pos pos = {.avail = (uint16_t) base, .used = (uint16_t) (base >> 16)};

    if (format->kind == VDT_RING_SPLIT) {
        if (base > UINT16_MAX)
            return false;
        pos.used = pos.avail;
    } else if (base == 0) {
        pos = vdt_ring_pos_initial(VDT_RING_PACKED);
    } else if (base <= UINT16_MAX) {
        pos.used = pos.avail;
    }
    if (!vdt_ring_pos_valid(format, pos))
        return false;
    *ret_pos = pos;
    return true;
}

const char *
vdt_ring_fault_name(enum vdt_ring_fault fault)
{
    static const char *const names[VDT_FAULT_COUNT] = {
        [VDT_FAULT_NONE] = "no fault",
        [VDT_FAULT_AVAIL_INDEX] = "more made available than the ring has room for",
        [VDT_FAULT_HEAD] = "chain head beyond the ring",
        [VDT_FAULT_NEXT] = "next descriptor beyond its table",
        [VDT_FAULT_LOOP] = "descriptor chain loops",
        [VDT_FAULT_TOO_LONG] = "descriptor chain too long",
        [VDT_FAULT_ORDER] = "device-readable descriptor behind a device-writable one",
        [VDT_FAULT_INDIRECT] = "indirect descriptor not allowed here, or its table is bad",
        [VDT_FAULT_ADDRESS] = "buffer address outside guest memory",
        [VDT_FAULT_OWNED] = "descriptor belongs to a chain in flight",
        [VDT_FAULT_FLAGS] = "available and used flags do not fit the wrap counter",
        [VDT_FAULT_USED_INDEX] = "device used more than it was given",
        [VDT_FAULT_USED_ID] = "device used a buffer that it does not have",
        [VDT_FAULT_USED_LEN] = "device reports more bytes than the buffer holds",
        [VDT_FAULT_EMPTY_CHAIN] = "descriptor chain without a byte",
        [VDT_FAULT_EVENT] = "event suppression with a reserved value",
    };

    if ((unsigned) fault >= VDT_FAULT_COUNT || names[fault] == NULL)
        return "unknown fault";
    return names[fault];
}
