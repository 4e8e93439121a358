/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Screen: a whole terminal, written anew at each turn and given back as it was. What is shown
 * stands on the alternate screen, so that nothing of it stays.
 */
#pragma once

#include <stdbool.h>
#include <termios.h>

struct vdt_screen {
    int in, out; /* borrowed */
    bool entered;
    bool has_modes;        /* @in is a terminal, whose modes were changed */
    struct termios before; /* its modes when entered */
};

/* Is @out a terminal that understands what we write? */
bool vdt_screen_usable(int out);
/* Take the terminal, and read keys one by one, unseen, where @in is one too. False: errno. */
bool vdt_screen_enter(struct vdt_screen *screen, int in, int out);
/* As much of @text as the window has room for. False: it could not be written. */
bool vdt_screen_show(struct vdt_screen *screen, const char *text);
/* Harmless where it was not entered. */
void vdt_screen_leave(struct vdt_screen *screen);
