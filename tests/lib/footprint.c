/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/footprint.h"

#include <dirent.h>
#include <glib.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
footprint_make_exact(char **argv)
{
    if (getenv("GLIBC_TUNABLES"))
        return;
    setenv("GLIBC_TUNABLES", FOOTPRINT_TUNABLES, 1);
    setenv("G_SLICE", "always-malloc", 1);
    execv("/proc/self/exe", argv);
    perror("exec");
    exit(1);
}

static unsigned
count_fds(const char *proc)
{
    g_autofree char *path = g_strconcat(proc, "/fd", NULL);
    DIR *dir = opendir(path);
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static bool
read_maps(const char *proc, struct footprint *footprint)
{
    g_autofree char *path = g_strconcat(proc, "/maps", NULL);
    FILE *file = fopen(path, "re");
    char line[512];

    while (file && fgets(line, sizeof(line), file)) {
        size_t start, end;

        if (sscanf(line, "%zx-%zx", &start, &end) != 2)
            continue;
        footprint->maps++;
        /* The heap's own size follows how it was cut up; what is in use of it is counted. */
        if (!strstr(line, "[heap]"))
            footprint->mapped += end - start;
    }
    if (file)
        fclose(file);
    return footprint->maps > 0;
}

static bool
read_locked(const char *proc, struct footprint *footprint)
{
    g_autofree char *path = g_strconcat(proc, "/status", NULL);
    FILE *file = fopen(path, "re");
    unsigned found = 0;
    char line[256];
    size_t kib;

    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "VmLck: %zu kB", &kib) != 1 && sscanf(line, "VmPin: %zu kB", &kib) != 1)
            continue;
        footprint->locked += kib << 10;
        found++;
    }
    if (file)
        fclose(file);
    return found == 2;
}

bool
footprint_take_of(pid_t pid, struct footprint *footprint)
{
    g_autofree char *proc = g_strdup_printf("/proc/%d", (int) pid);

    *footprint = (struct footprint){.fds = count_fds(proc)};
    return footprint->fds > 0 && read_maps(proc, footprint) && read_locked(proc, footprint);
}

bool
footprint_take(struct footprint *footprint)
{
    if (!footprint_take_of(getpid(), footprint))
        return false;
    struct mallinfo2 info = mallinfo2();
    footprint->heap = info.uordblks + info.hblkhd;
    return true;
}

static void
compare(GString *text, const char *what, size_t then, size_t now)
{
    if (then != now)
        g_string_append_printf(text, "%s%zu %s, %zu before", text->len ? "; " : "", now, what,
                               then);
}

char *
footprint_differs(const struct footprint *then, const struct footprint *now)
{
    g_autoptr(GString) text = g_string_new(NULL);

    compare(text, "descriptors", then->fds, now->fds);
    compare(text, "maps", then->maps, now->maps);
    compare(text, "bytes mapped", then->mapped, now->mapped);
    compare(text, "bytes locked", then->locked, now->locked);
    compare(text, "bytes of heap", then->heap, now->heap);
    return text->len ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}
