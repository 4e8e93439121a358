/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scoped ownership for our own structs: VDT_AUTO(guest_map) map = NULL; is a struct vdt_guest_map *
 * that is freed at the end of its scope (GLib's g_autoptr wants typedef names, which we keep for the
 * public API). g_steal_pointer() hands it on.
 */
#pragma once

#define VDT_DEFINE_AUTO(name, free_function)                                                       \
    __attribute__((unused)) static inline void vdt_auto_##name(struct vdt_##name **p)              \
    {                                                                                              \
        if (*p)                                                                                    \
            free_function(*p);                                                                     \
    }

#define VDT_AUTO(name) __attribute__((cleanup(vdt_auto_##name))) struct vdt_##name *
