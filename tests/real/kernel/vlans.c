/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* kernel-vlans FROM TO COUNT: a snapshot as another one, whose guest has set VLANs 1 .. COUNT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/snapshot.h"

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    if (argc != 4)
        return 2;
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(argv[1], &error);
    if (snapshot) {
        memset(snapshot->net.vlan, 0, sizeof(snapshot->net.vlan));
        for (int vid = 1; vid <= atoi(argv[3]); vid++)
            vdt_vlan_set(snapshot->net.vlan, (unsigned) vid, true);
        snapshot->net.set |= VDT_NET_VLAN;
    }
    if (snapshot && vdt_snapshot_save(snapshot, argv[2], &error))
        return 0;
    fprintf(stderr, "%s\n", error->message);
    return 1;
}
