/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/migrate.h"

/* How long the device works on with the processor standing still, its last pages copied: what it
 * writes then, only the log can tell, also where both write the same page (a packed ring). */
#define QUIET_US 4000

struct copy {
    struct vdt_migrate *migrate;
    uint64_t pages;
    bool by_log;
};

void
vdt_migrate_init(struct vdt_migrate *migrate, struct vdt_vmm *source, struct vdt_vmm *target,
                 struct vdt_traffic *traffic)
{
    *migrate = (struct vdt_migrate){.source = source, .target = target, .traffic = traffic};
    migrate->written = g_new0(uint64_t, source->ram->words);
}

void
vdt_migrate_clear(struct vdt_migrate *migrate)
{
    g_clear_pointer(&migrate->written, g_free);
    g_clear_pointer(&migrate->state, g_byte_array_unref);
}

static void
copy_page(void *ctx, uint64_t gpa)
{
    struct copy *copy = ctx;
    struct vdt_migrate *migrate = copy->migrate;
    uint64_t page = gpa / VDT_RAM_PAGE, bit = 1ull << page % 64;

    vdt_ram_copy_page(migrate->target->ram, migrate->source->ram, gpa);
    copy->pages++;
    if (copy->by_log && !(migrate->written[page / 64] & bit)) {
        migrate->written[page / 64] |= bit;
        migrate->distinct++;
    }
}

uint64_t
vdt_migrate_round(struct vdt_migrate *migrate)
{
    struct copy by_log = {migrate, 0, true}, by_processor = {migrate, 0, false};
    struct vdt_ram *ram = migrate->source->ram;

    vdt_ram_take(ram, migrate->source->log, copy_page, &by_log);
    vdt_ram_take(ram, ram->cpu, copy_page, &by_processor);
    migrate->by_log += by_log.pages;
    migrate->by_processor += by_processor.pages;
    migrate->copied += by_log.pages + by_processor.pages;
    migrate->rounds++;
    return by_log.pages + by_processor.pages;
}

bool
vdt_migrate_begin(struct vdt_migrate *migrate, GError **error)
{
    struct vdt_ram *ram = migrate->source->ram;
    int64_t start;

    migrate->began_at = g_get_monotonic_time();
    if (!vdt_vmm_log_start(migrate->source, migrate->traffic->driver, error))
        return false;
    start = g_get_monotonic_time();
    vdt_ram_copy(migrate->target->ram, ram);
    migrate->first_copy_us = g_get_monotonic_time() - start;
    migrate->copied += ram->size / VDT_RAM_PAGE;
    return true;
}

bool
vdt_migrate_stop(struct vdt_migrate *migrate, GError **error)
{
    struct vdt_driver *driver = migrate->traffic->driver;
    struct vdt_driver_sums sums;
    int64_t start;

    vdt_traffic_pause(migrate->traffic);
    vdt_migrate_round(migrate);
    /* Some last work for the device, copied before it is done. */
    vdt_traffic_step(migrate->traffic);
    vdt_migrate_round(migrate);
    g_usleep(QUIET_US);
    migrate->stopped_at = g_get_monotonic_time();
    if (!vdt_vmm_stop(migrate->source, driver, migrate->bases, error))
        return false;
    migrate->state = vdt_frontend_save(migrate->source->frontend, VDT_MIGRATE_STATE_MAX, error);
    if (!migrate->state)
        return false;
    vdt_migrate_round(migrate);
    vdt_driver_sum(driver, &sums);
    start = g_get_monotonic_time();
    migrate->missed =
        vdt_ram_compare(migrate->source->ram, migrate->target->ram, &migrate->first_missed);
    migrate->verified_us = g_get_monotonic_time() - start;
    return true;
}

bool
vdt_migrate_land(struct vdt_migrate *migrate, GError **error)
{
    struct vdt_driver *driver = migrate->traffic->driver;

    if (!vdt_frontend_load(migrate->target->frontend, migrate->state->data, migrate->state->len,
                           error) ||
        !vdt_driver_move(driver, migrate->target->ram, error))
        return false;
    /* What the source's device had finished came along in the rings; it is not the target's work.
     */
    driver->refill = false;
    vdt_driver_poll(driver);
    driver->refill = true;
    vdt_traffic_mark(migrate->traffic);
    if (!vdt_vmm_start(migrate->target, driver, migrate->bases, error))
        return false;
    migrate->resumed_at = g_get_monotonic_time();
    vdt_traffic_resume(migrate->traffic);
    return true;
}

int64_t
vdt_migrate_downtime_us(struct vdt_migrate *migrate)
{
    bool paused = migrate->traffic->pause;
    int64_t first;

    vdt_traffic_pause(migrate->traffic);
    first = migrate->traffic->first_use;
    if (!paused)
        vdt_traffic_resume(migrate->traffic);
    return first ? first - migrate->stopped_at - migrate->verified_us : -1;
}
