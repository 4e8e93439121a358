/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ring target: a guest ring and a device ring of one kind (FUZZ_PACKED), wired to each other as the
 * relay does it, between a driver and a device that write what they like where they may. Each call
 * of the two rings is checked against a model that knows neither ring's memory.
 */
#include "fuzz.h"

#include "base/wire.h"
#include "virtio/device_ring.h"
#include "virtio/guest_ring.h"

#ifdef FUZZ_PACKED
#define KIND VDT_RING_PACKED
#else
#define KIND VDT_RING_SPLIT
#endif

#define NUM_MAX 8u
#define STEPS_MAX 400u
#define TABLE_ADDR 0x10000u
#define TABLE_SIZE (16u * (NUM_MAX + 1u))

enum area { DESC, DRIVER, DEVICE, AREAS };

/* The memory of one ring, and what it was before a call. */
struct memory {
    uint8_t *area[AREAS], *before[AREAS];
    size_t size[AREAS];
};

/* A chain that is with us: taken from the guest ring, or taken and posted to the device ring. */
struct held {
    bool used, posted;
    uint16_t id, slots, device_id;
    uint32_t writable;
};

struct world {
    struct fuzz_input *in;
    struct vdt_ring_format format;
    struct memory guest, device;
    uint8_t table[TABLE_SIZE];
    struct vdt_guest_ring ring;
    struct vdt_device_ring shadow;
    struct vdt_seg *seg;
    struct held held[2 * NUM_MAX];
    unsigned reads;
    uint16_t driver_pos; /* packed: where the driver goes on */
    uint16_t device_pos;
    bool guest_broken, device_broken;
};

static void
memory_init(struct memory *memory, const struct vdt_ring_format *format)
{
    memory->size[DESC] = vdt_ring_desc_size(format);
    memory->size[DRIVER] = vdt_ring_driver_size(format);
    memory->size[DEVICE] = vdt_ring_device_size(format);
    for (enum area a = 0; a < AREAS; a++) {
        memory->area[a] = calloc(1, memory->size[a]);
        memory->before[a] = calloc(1, memory->size[a]);
    }
}

static void
memory_clear(struct memory *memory)
{
    for (enum area a = 0; a < AREAS; a++) {
        free(memory->area[a]);
        free(memory->before[a]);
    }
}

static struct vdt_ring_mem
memory_of(const struct memory *memory)
{
    return (struct vdt_ring_mem){memory->area[DESC], memory->area[DRIVER], memory->area[DEVICE]};
}

static void
keep(struct memory *memory)
{
    for (enum area a = 0; a < AREAS; a++)
        memcpy(memory->before[a], memory->area[a], memory->size[a]);
}

static bool
changed(const struct memory *memory, enum area a)
{
    return memcmp(memory->before[a], memory->area[a], memory->size[a]) != 0;
}

/* The guest ring writes nothing but used entries and its wish for kicks. */
static void
check_guest_writes(const struct world *world)
{
    FUZZ_CHECK(!changed(&world->guest, DRIVER));
    if (KIND == VDT_RING_SPLIT)
        FUZZ_CHECK(!changed(&world->guest, DESC));
}

static bool
read_table(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct world *world = ctx;

    world->reads++;
    FUZZ_CHECK(len > 0 && len <= 16u * world->format.num);
    if (addr < TABLE_ADDR || addr - TABLE_ADDR > TABLE_SIZE ||
        len > TABLE_SIZE - (addr - TABLE_ADDR))
        return false;
    memcpy(dst, world->table + (addr - TABLE_ADDR), len);
    return true;
}

static void
check_chain(const struct world *world, const struct vdt_chain *chain)
{
    uint64_t readable = 0, writable = 0;
    bool in_writable = false;

    FUZZ_CHECK(chain->count <= chain->capacity && chain->direct <= chain->count);
    FUZZ_CHECK(chain->count <= 2u * world->format.num && chain->direct <= world->format.num);
    FUZZ_CHECK(chain->slots == chain->direct + (chain->indirect ? 1u : 0u));
    FUZZ_CHECK(chain->slots >= 1 && chain->slots <= world->format.num);
    FUZZ_CHECK(chain->head < world->format.num);
    FUZZ_CHECK(chain->indirect || chain->count == chain->direct);
    FUZZ_CHECK(!chain->indirect || world->format.indirect);
    FUZZ_CHECK(KIND == VDT_RING_PACKED || chain->id == chain->head);
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct vdt_seg *seg = &chain->seg[i];
        bool last = i + 1 == (i < chain->direct ? chain->slots : chain->count);

        FUZZ_CHECK(!(seg->flags & ~(VDT_SEG_NEXT | VDT_SEG_WRITE)));
        FUZZ_CHECK(last == !(seg->flags & VDT_SEG_NEXT));
        if (seg->flags & VDT_SEG_WRITE)
            in_writable = true;
        else
            FUZZ_CHECK(!in_writable);
        *(in_writable ? &writable : &readable) += seg->len;
        FUZZ_CHECK(seg->len == 0 || seg->addr <= UINT64_MAX - seg->len);
        if (KIND == VDT_RING_SPLIT && i < chain->direct && !last)
            FUZZ_CHECK(seg->next < world->format.num);
    }
    FUZZ_CHECK(chain->readable == readable && chain->writable == writable);
    FUZZ_CHECK(readable + writable <= UINT32_MAX);
}

static unsigned
guest_in_flight(const struct world *world)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(world->held); i++) {
        if (world->held[i].used)
            sum += KIND == VDT_RING_SPLIT ? 1 : world->held[i].slots;
    }
    return sum;
}

static unsigned
device_in_flight(const struct world *world)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(world->held); i++) {
        if (world->held[i].posted)
            sum += world->held[i].slots;
    }
    return sum;
}

static void
check_counts(const struct world *world)
{
    const struct vdt_device_ring *shadow = &world->shadow;
    unsigned chains = 0;

    FUZZ_CHECK(world->ring.in_flight == guest_in_flight(world));
    FUZZ_CHECK(world->ring.in_flight <= world->format.num);
    FUZZ_CHECK(shadow->in_flight == device_in_flight(world));
    FUZZ_CHECK(shadow->in_flight <= world->format.num);
    for (unsigned i = 0; i < G_N_ELEMENTS(world->held); i++)
        chains += world->held[i].posted;
    FUZZ_CHECK(shadow->free_count + (KIND == VDT_RING_SPLIT ? shadow->in_flight : chains) ==
               world->format.num);
    FUZZ_CHECK((world->ring.fault != VDT_FAULT_NONE) == world->guest_broken);
    FUZZ_CHECK((shadow->fault != VDT_FAULT_NONE) == world->device_broken);
}

static struct held *
find_free(struct world *world)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(world->held); i++) {
        if (!world->held[i].used)
            return &world->held[i];
    }
    /* More chains in flight than a ring has room for; ends here. */
    FUZZ_CHECK(guest_in_flight(world) < world->format.num);
    return NULL;
}

static bool
same_chain(const struct vdt_chain *a, const struct vdt_seg *segs, const struct vdt_chain *b)
{
    return a->count == b->count && a->direct == b->direct && a->id == b->id &&
           a->slots == b->slots && a->head == b->head && a->readable == b->readable &&
           a->writable == b->writable && memcmp(segs, b->seg, b->count * sizeof(*segs)) == 0;
}

/* take, perhaps give it up and take it again, perhaps post it to the device. */
static bool
take(struct world *world, bool again, bool post)
{
    const struct vdt_reader reader = {read_table, world};
    const struct vdt_guest_ring before = world->ring;
    struct vdt_chain chain = {.seg = world->seg, .capacity = 3u * world->format.num};
    enum vdt_take got;
    struct held *held;

    world->reads = 0;
    keep(&world->guest);
    got = vdt_guest_ring_take(&world->ring, &reader, &chain);
    FUZZ_CHECK(world->reads <= 1);
    check_guest_writes(world);
    FUZZ_CHECK(!changed(&world->guest, DESC) && !changed(&world->guest, DEVICE));
    FUZZ_CHECK(!world->guest_broken || got == VDT_TAKE_BROKEN);
    if (got != VDT_TAKE_CHAIN) {
        world->guest_broken = got == VDT_TAKE_BROKEN;
        FUZZ_CHECK(world->ring.pos.avail == before.pos.avail);
        return false;
    }
    check_chain(world, &chain);
    if (again) {
        const struct vdt_chain first = chain;
        struct vdt_seg segs[3 * NUM_MAX];

        memcpy(segs, chain.seg, chain.count * sizeof(*segs));
        vdt_guest_ring_untake(&world->ring, &chain);
        FUZZ_CHECK(world->ring.pos.avail == before.pos.avail);
        FUZZ_CHECK(world->ring.in_flight == before.in_flight);
        FUZZ_CHECK(vdt_guest_ring_take(&world->ring, &reader, &chain) == VDT_TAKE_CHAIN);
        FUZZ_CHECK(same_chain(&first, segs, &chain));
    }
    held = find_free(world);
    *held = (struct held){
        .used = true, .id = chain.id, .slots = chain.slots, .writable = chain.writable};
    if (post && vdt_device_ring_lay(&world->shadow, &chain, &held->device_id)) {
        FUZZ_CHECK(held->device_id < world->format.num);
        FUZZ_CHECK(!vdt_device_ring_id_in_flight(&world->shadow, held->device_id));
        keep(&world->device);
        vdt_device_ring_post(&world->shadow, &chain, held->device_id, 0x5000, 16u * chain.count);
        FUZZ_CHECK(!changed(&world->device, DEVICE));
        held->posted = true;
        FUZZ_CHECK(vdt_device_ring_id_in_flight(&world->shadow, held->device_id));
    }
    return true;
}

static void
give(struct world *world, struct held *held, uint32_t len)
{
    FUZZ_CHECK(len <= held->writable);
    keep(&world->guest);
    vdt_guest_ring_give(&world->ring, held->id, held->slots, len);
    check_guest_writes(world);
    held->used = false;
}

/* Every byte that became visible lies in what written() names. */
static void
publish(struct world *world)
{
    const uint16_t from = world->ring.published;
    struct vdt_ring_span spans[VDT_RING_SPANS_MAX];
    unsigned count;

    keep(&world->guest);
    vdt_guest_ring_publish(&world->ring);
    check_guest_writes(world);
    FUZZ_CHECK(world->ring.published == world->ring.pos.used);
    count = vdt_guest_ring_written(&world->ring, from, spans);
    FUZZ_CHECK(count <= VDT_RING_SPANS_MAX);
    for (unsigned i = 0; i < count; i++) {
        enum area a = spans[i].in_desc ? DESC : DEVICE;

        FUZZ_CHECK(spans[i].offset + spans[i].len <= world->guest.size[a]);
        memcpy(world->guest.before[a] + spans[i].offset, world->guest.area[a] + spans[i].offset,
               spans[i].len);
    }
    FUZZ_CHECK(!changed(&world->guest, DESC) && !changed(&world->guest, DEVICE));
    vdt_guest_ring_needs_call(&world->ring, from);
    world->guest_broken = world->ring.fault != VDT_FAULT_NONE;
}

static struct held *
find_posted(struct world *world, uint16_t id)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(world->held); i++) {
        if (world->held[i].posted && world->held[i].device_id == id)
            return &world->held[i];
    }
    return NULL;
}

static bool
reap(struct world *world)
{
    const struct vdt_ring_pos before = world->shadow.pos;
    struct vdt_used used;
    struct held *held;
    enum vdt_reap got;

    keep(&world->device);
    got = vdt_device_ring_reap(&world->shadow, &used);
    for (enum area a = 0; a < AREAS; a++)
        FUZZ_CHECK(!changed(&world->device, a));
    FUZZ_CHECK(!world->device_broken || got == VDT_REAP_BROKEN);
    if (got != VDT_REAP_USED) {
        world->device_broken = got == VDT_REAP_BROKEN;
        FUZZ_CHECK(world->shadow.pos.used == before.used);
        return false;
    }
    held = find_posted(world, used.id);
    FUZZ_CHECK(held != NULL);
    FUZZ_CHECK(used.len <= held->writable);
    FUZZ_CHECK(!used.whole || (used.len == held->writable && world->format.in_order));
    held->posted = false;
    FUZZ_CHECK(!vdt_device_ring_id_in_flight(&world->shadow, used.id));
    give(world, held, used.len);
    return true;
}

/* What a driver does, well or not. */
static void
drive(struct world *world)
{
    struct fuzz_input *in = world->in;
    uint8_t index = fuzz_u8(in), bits = fuzz_u8(in);
    uint32_t num = world->format.num, len = bits & 0x80 ? fuzz_u32(in) : bits >> 3;
    uint64_t addr =
        bits & 0x40 ? TABLE_ADDR + 16u * fuzz_u8(in) : fuzz_take(in, bits & 0x20 ? 8 : 1);
    uint16_t link = fuzz_u8(in);
    uint8_t *at = index & 0x80 ? world->table + 16 * (index % (NUM_MAX + 1))
                               : world->guest.area[DESC] + 16 * (index % num);

    if (bits & 0x40)
        len = 16u * (len & 0xf);
    vdt_put64(at, addr);
    vdt_put32(at + 8, len);
    if (KIND == VDT_RING_SPLIT) {
        vdt_put16(at + 12, bits & 7);
        vdt_put16(at + 14, link);
    } else {
        /* Its next slot, so that chains come about; in the table it does not matter. */
        if (!(index & 0x80)) {
            at = world->guest.area[DESC] + 16 * (world->driver_pos & 0x7fff);
            vdt_put64(at, addr);
            vdt_put32(at + 8, len);
        }
        vdt_put16(at + 12, link);
        vdt_put16(at + 14, (uint16_t) ((bits & 7) | (world->driver_pos & 0x8000 ? 0x80 : 0x8000)));
        if (!(index & 0x80))
            world->driver_pos = vdt_packed_advance(world->driver_pos, 1, (uint16_t) num);
    }
}

static void
make_available(struct world *world)
{
    uint16_t head = fuzz_u8(world->in), idx;
    uint8_t *avail = world->guest.area[DRIVER];

    if (KIND == VDT_RING_PACKED) {
        /* The driver may go back over what it wrote. */
        world->driver_pos = vdt_packed_advance(
            world->driver_pos, (uint16_t) (head % world->format.num), world->format.num);
        return;
    }
    idx = vdt_get16(avail + 2);
    vdt_put16(avail + 4 + 2 * (idx & (world->format.num - 1)), head);
    vdt_put16(avail + 2, (uint16_t) (idx + 1));
}

/* What a device does, well or not. */
static void
use(struct world *world)
{
    uint8_t which = fuzz_u8(world->in), how = fuzz_u8(world->in), much = fuzz_u8(world->in);
    uint32_t id = which % (world->format.num + 1u), len = much & 0x80 ? fuzz_u32(world->in) : 0;
    struct held *held = &world->held[which % G_N_ELEMENTS(world->held)];
    uint8_t *used = world->device.area[DEVICE];
    uint16_t idx, flags;

    /* What it has and as much as it may, or a little beside that. */
    if (!(how & 0x40) && held->posted)
        id = held->device_id;
    if (how & 0x80)
        id |= KIND == VDT_RING_SPLIT ? 0x10000 : 0x8000;
    if (!(much & 0x80) && held->posted)
        len = much & 4 ? held->writable - 1 + (much & 3) : held->writable / (1 + much);
    if (KIND == VDT_RING_SPLIT) {
        idx = vdt_get16(used + 2);
        vdt_put32(used + 4 + 8 * (idx & (world->format.num - 1)), id);
        vdt_put32(used + 8 + 8 * (idx & (world->format.num - 1)), len);
        vdt_put16(used + 2, (uint16_t) (idx + 1 + (how >> 3 & 3)));
        return;
    }
    used = world->device.area[DESC] + 16 * (world->device_pos & 0x7fff);
    flags = (uint16_t) ((how & 7) | (world->device_pos & 0x8000 ? 0x8080 : 0));
    vdt_put32(used + 8, len);
    vdt_put16(used + 12, (uint16_t) id);
    vdt_put16(used + 14, flags);
    world->device_pos =
        vdt_packed_advance(world->device_pos, held->posted ? held->slots : 1, world->format.num);
}

/* Any bytes where @memory's owner may write. */
static void
scribble(struct world *world, struct memory *memory, enum area a)
{
    size_t at = fuzz_u8(world->in) % memory->size[a];

    for (unsigned n = fuzz_u8(world->in) % 9; n > 0 && at < memory->size[a]; n--, at++)
        memory->area[a][at] = fuzz_u8(world->in);
}

static void
list_heads(struct world *world)
{
    uint16_t heads[NUM_MAX], from = (uint16_t) (world->ring.pos.avail - fuzz_u8(world->in));
    bool ok;
    uint32_t count;

    if (KIND != VDT_RING_SPLIT)
        return;
    count = vdt_guest_ring_heads(&world->ring, from, world->ring.pos.avail, heads, &ok);
    FUZZ_CHECK(count <= world->format.num);
    for (uint32_t i = 0; i < count; i++)
        FUZZ_CHECK(heads[i] < world->format.num);
}

static void
step(struct world *world)
{
    uint8_t op = fuzz_u8(world->in);
    unsigned rounds = 0;

    switch (op & 15) {
    case 0:
    case 1:
        drive(world);
        break;
    case 2:
        make_available(world);
        break;
    case 3:
    case 4:
        while (take(world, op & 0x10, op & 0x20))
            FUZZ_CHECK(++rounds <= world->format.num);
        break;
    case 5:
        take(world, op & 0x10, true);
        break;
    case 6:
        keep(&world->device);
        vdt_device_ring_publish(&world->shadow);
        FUZZ_CHECK(!changed(&world->device, DEVICE));
        break;
    case 7:
        use(world);
        break;
    case 8:
        while (reap(world))
            FUZZ_CHECK(++rounds <= world->format.num);
        break;
    case 9: {
        struct held *held = &world->held[fuzz_u8(world->in) % G_N_ELEMENTS(world->held)];

        if (held->used && !held->posted)
            give(world, held, held->writable / 2);
        break;
    }
    case 10:
        publish(world);
        break;
    case 11:
        vdt_guest_ring_kicks_off(&world->ring);
        FUZZ_CHECK(!(vdt_guest_ring_kicks_on(&world->ring) && world->guest_broken));
        break;
    case 12:
        vdt_device_ring_calls_off(&world->shadow);
        FUZZ_CHECK(!(vdt_device_ring_calls_on(&world->shadow) && world->device_broken));
        break;
    case 13:
        scribble(world, &world->guest, (op >> 4) % AREAS);
        break;
    case 14:
        /* A split ring's device could write the other areas as well; they are never read. */
        scribble(world, &world->device, (op >> 4) % AREAS);
        break;
    case 15:
        list_heads(world);
        break;
    }
    check_counts(world);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t shape = fuzz_u8(&in), start = fuzz_u8(&in);
    uint16_t num =
        KIND == VDT_RING_SPLIT ? (uint16_t) (1u << (shape & 3)) : (uint16_t) (1u + (shape & 7));
    struct world world = {
        .in = &in,
        .format = {.kind = KIND,
                   .num = num,
                   .event_idx = shape & 0x10,
                   .indirect = shape & 0x20,
                   .in_order = shape & 0x40},
    };
    struct vdt_ring_pos pos = vdt_ring_pos_initial(KIND);
    struct vdt_ring_mem mem;

    if (KIND == VDT_RING_SPLIT)
        pos.avail = pos.used = (uint16_t) (start & 0x80 ? 0xff00 | start : start);
    else
        pos.avail = pos.used = (uint16_t) ((start & 0x7f) % num | (start & 0x80) << 8);
    memory_init(&world.guest, &world.format);
    memory_init(&world.device, &world.format);
    world.seg = malloc(3u * num * sizeof(*world.seg));
    world.driver_pos = world.device_pos = pos.avail;
    mem = memory_of(&world.device);
    vdt_device_ring_init(&world.shadow, &world.format, &mem, pos);
    if (KIND == VDT_RING_SPLIT)
        vdt_put16(world.guest.area[DRIVER] + 2, pos.avail);
    else
        memcpy(world.guest.area[DESC], world.device.area[DESC], world.guest.size[DESC]);
    mem = memory_of(&world.guest);
    vdt_guest_ring_init(&world.ring, &world.format, &mem, pos);
    for (unsigned steps = 0; in.left > 0 && steps < STEPS_MAX; steps++)
        step(&world);
    vdt_device_ring_clear(&world.shadow);
    memory_clear(&world.guest);
    memory_clear(&world.device);
    free(world.seg);
    return 0;
}
