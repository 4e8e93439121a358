/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib.h>
#include <string.h>

#include "device/vhost_driver.h"
#include "lib/leak.h"
#include "unit/device/docs_dir.h"

VDT_SUITE(vhost_driver);

static const char *
yes(bool is)
{
    return is ? "yes" : "no";
}

static char *
row_text(const struct vdt_vhost_driver *row)
{
    static const char *const base[] = {
        [VDT_VHOST_BASE_NONE] = "no",
        [VDT_VHOST_BASE_AVAIL] = "yes",
        [VDT_VHOST_BASE_USED] = "used index only",
    };
    g_autoptr(GString) names = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(row->sysfs) && row->sysfs[i]; i++)
        g_string_append_printf(names, "%s`%s`", i ? ", " : "", row->sysfs[i]);
    return g_strdup_printf("\n| `%s` |%s%s | %s | %s | %s | %s | %s | %s | %s |\n", row->name,
                           names->len ? " " : "", names->str, base[row->base], yes(row->set_base),
                           yes(row->readdress), yes(row->disable), yes(row->user_va),
                           yes(row->keeps_mac), row->passthrough ? "passthrough" : "shadow always");
}

Test(vhost_driver, each_row_is_in_the_documentation_as_it_is_here)
{
    g_autofree char *text = NULL;
    unsigned rows = 0, lines = 0;

    cr_assert(g_file_get_contents(VDT_DOCS_DIR "/devices.md", &text, NULL, NULL));
    for (; vdt_vhost_driver_at(rows); rows++) {
        g_autofree char *row = row_text(vdt_vhost_driver_at(rows));
        cr_expect(strstr(text, row), "docs/devices.md lacks:%s", row);
    }
    const char *table = strstr(text, "| driver | in sysfs |");
    cr_assert(table);
    for (const char *at = table; at && at[0] == '|'; at = strchr(at, '\n') + 1)
        lines++;
    cr_expect_eq(lines, rows + 2, "%u lines for %u rows: one is not in the code", lines, rows);
}

Test(vhost_driver, rows_are_found_by_what_sysfs_says)
{
    static const struct {
        const char *sysfs, *row;
    } rows[] = {
        {"vdpasim_net", "vdpa_sim_net"},
        {"vp-vdpa", "vp_vdpa"},
        {"mlx5_core", "mlx5_core"},
        {"mlx5_vdpa.vnet", "mlx5_core"},
        {"vdpasim", "any other"},
        {"vdpasim_network", "any other"},
        {"", "any other"},
        {NULL, "any other"},
        {"snet-vdpa-driver", "snet"},
        {".vnet", "any other"},
        {"any other", "any other"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        cr_expect_str_eq(vdt_vhost_driver_find(rows[i].sysfs)->name, rows[i].row, "%s",
                         rows[i].sysfs ? rows[i].sysfs : "NULL");
}

Test(vhost_driver, only_what_tells_its_rings_and_can_be_moved_is_passed_through)
{
    const struct vdt_vhost_driver *row;

    for (unsigned i = 0; (row = vdt_vhost_driver_at(i)); i++) {
        if (row->passthrough)
            cr_expect(row->base == VDT_VHOST_BASE_AVAIL && row->set_base && row->readdress &&
                          row->disable,
                      "%s", row->name);
    }
}
