/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/screen.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l" /* alternate screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define END_LINE "\033[K"
#define END_SCREEN "\033[J"

static bool
put(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t) n;
    }
    return true;
}

bool
vdt_screen_usable(int out)
{
    const char *term = g_getenv("TERM");

    return isatty(out) && term && *term && !g_str_equal(term, "dumb");
}

bool
vdt_screen_enter(struct vdt_screen *screen, int in, int out)
{
    *screen = (struct vdt_screen){.in = in, .out = out};
    if (isatty(in) && tcgetattr(in, &screen->before) == 0) {
        struct termios modes = screen->before;

        modes.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
        modes.c_cc[VMIN] = 1;
        modes.c_cc[VTIME] = 0;
        screen->has_modes = tcsetattr(in, TCSADRAIN, &modes) == 0;
    }
    screen->entered = true;
    if (put(out, ENTER, strlen(ENTER)))
        return true;
    int saved = errno;
    vdt_screen_leave(screen);
    errno = saved;
    return false;
}

/* At most @columns characters of a line; what would steer the terminal is shown as "?". */
static void
add_line(GString *frame, const char *line, size_t len, unsigned columns)
{
    const char *end = line + len;

    for (unsigned column = 0; line < end && column < columns; column++) {
        gunichar c = g_utf8_get_char_validated(line, end - line);
        bool valid = c != (gunichar) -1 && c != (gunichar) -2;

        if (valid && g_unichar_isprint(c))
            g_string_append_unichar(frame, c);
        else
            g_string_append_c(frame, '?');
        line = valid ? g_utf8_next_char(line) : line + 1;
    }
}

bool
vdt_screen_show(struct vdt_screen *screen, const char *text)
{
    struct winsize size = {0};
    g_autoptr(GString) frame = g_string_new(HOME);

    if (ioctl(screen->out, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    for (unsigned row = 0; *text && row < size.ws_row; row++) {
        size_t len = strcspn(text, "\n");

        g_string_append(frame, row ? "\r\n" : "");
        add_line(frame, text, len, size.ws_col);
        g_string_append(frame, END_LINE);
        text += len;
        if (*text)
            text++;
    }
    g_string_append(frame, END_SCREEN);
    return put(screen->out, frame->str, frame->len);
}

void
vdt_screen_leave(struct vdt_screen *screen)
{
    if (!screen->entered)
        return;
    screen->entered = false;
    put(screen->out, LEAVE, strlen(LEAVE));
    if (screen->has_modes)
        tcsetattr(screen->in, TCSADRAIN, &screen->before);
}
