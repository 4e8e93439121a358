/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why a device cannot have a piece of memory: the kernel says EFAULT whatever the reason is. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "device/vhost_vdpa.h"

/* The whole of [@host, @host + @size) in mappings of MAP_SHARED, which have a file behind them,
 * also anonymous ones. True where it cannot be known. */
bool
vdt_vhost_memory_is_shared(const void *host, uint64_t size)
{
    uint64_t at = (uintptr_t) host, end = at + size;
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    if (!maps)
        return true;
    while (at < end && fgets(line, sizeof line, maps)) {
        uint64_t from, to;
        char access[5];

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, access) != 3 || to <= at)
            continue; /* also the rest of a line that was too long */
        if (from > at || access[3] != 's')
            break;
        at = to;
    }
    fclose(maps);
    return at >= end;
}

static bool
is_mapped(const struct vdt_vhost *vhost, void *host, uint64_t size)
{
    /* One page of it after the other in no more memory than that: ENOMEM is what counts. */
    unsigned char core[4096];

    for (uint64_t done = 0, part; done < size; done += part) {
        part = MIN(size - done, sizeof core * vhost->page);
        if (mincore((char *) host + done, part, core) < 0 && errno == ENOMEM)
            return false;
    }
    return true;
}

bool
vdt_vhost_memory_beyond_limit(struct vdt_vhost *vhost, uint64_t size, uint64_t *ret_pinned,
                              uint64_t *ret_limit)
{
    return vhost->sys->memlock(ret_pinned, ret_limit) && *ret_limit != UINT64_MAX &&
           (size > *ret_limit || *ret_pinned > *ret_limit - size);
}

/* Memory that is reached by user address is not pinned. The limit is what map() would raise it to.
 */
bool
vdt_vhost_memory_limit(struct vdt_device *dev, uint64_t *ret_pinned, uint64_t *ret_limit)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (vhost->row->user_va)
        return false;
    vhost->sys->raise_memlock();
    return vhost->sys->memlock(ret_pinned, ret_limit) && *ret_limit != UINT64_MAX;
}

bool
vdt_vhost_memory_refused(struct vdt_vhost *vhost, uint64_t iova, uint64_t size, void *host,
                         int errnum, GError **error)
{
    uint64_t pinned = 0, limit, need, pages, entries;

    if (getpid() != vhost->owner)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                              "takes memory of the process that opened it only (%d, this is %d)",
                              (int) vhost->owner, (int) getpid());
    if (!is_mapped(vhost, host, size))
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot map %" PRIu64 " bytes at 0x%" PRIx64
                              ": not all of them are memory of this process",
                              size, iova);
    if (vdt_vhost_memory_beyond_limit(vhost, size, &pinned, &limit)) {
        need = pinned + size;
        return vdt_vhost_fail(
            vhost, error, VDT_ERROR_FAILED,
            "cannot map %" PRIu64 " bytes at 0x%" PRIx64 ": they would be locked memory, %" PRIu64
            " bytes with the %" PRIu64 " that are pinned already, and RLIMIT_MEMLOCK is %" PRIu64
            ". Guest memory is pinned once for each device and address space. Raise the limit to "
            "at least that: LimitMEMLOCK=%" PRIu64 " in the unit, 'ulimit -l %" PRIu64
            "' in the shell, or 'prlimit --pid %d --memlock=%" PRIu64 "' for this process",
            size, iova, need, pinned, limit, need, (need + 1023) / 1024, (int) getpid(), need);
    }
    if (errnum != EFAULT)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                              "cannot map %" PRIu64 " bytes at 0x%" PRIx64 ": %s", size, iova,
                              g_strerror(errnum));
    /* Pinned page by page, each of which may be a piece of its own. */
    entries = vhost->row->user_va ? 0 : vhost->sys->iotlb_entries();
    pages = (pinned + size) / vhost->page;
    if (entries && pages > entries)
        return vdt_vhost_fail(
            vhost, error, VDT_ERROR_FAILED,
            "cannot map %" PRIu64 " bytes at 0x%" PRIx64 ": the kernel keeps at most %" PRIu64
            " pieces of contiguous physical memory for a "
            "device (max_iotlb_entries of module vhost_vdpa), and these %" PRIu64
            " pages, with those that are mapped already, may be as many pieces. Back guest memory "
            "by huge pages, or load the module with 'options vhost_vdpa max_iotlb_entries=%" PRIu64
            "' in /etc/modprobe.d",
            size, iova, entries, pages, pages);
    return vdt_vhost_fail(
        vhost, error, VDT_ERROR_FAILED,
        "cannot map %" PRIu64 " bytes at 0x%" PRIx64
        ": the kernel does not say why. The range is free and inside the device's, "
        "the memory is there and within RLIMIT_MEMLOCK: what is left is memory that "
        "cannot be pinned (another device's, or the host is short of it) or an "
        "IOMMU that refuses the range; the kernel's log may say",
        size, iova);
}
