/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Criterion's assertions for a plain program (one that also runs under ThreadSanitizer): what does
 * not hold is said, and the program ends.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline void __attribute__((format(printf, 5, 6)))
plain_assert(bool holds, const char *what, const char *file, int line, const char *format, ...)
{
    va_list args;

    if (holds)
        return;
    printf("Bail out! %s:%d: %s: ", file, line, what);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    abort();
}

#define cr_assert(condition, ...)                                                                  \
    plain_assert((condition), #condition, __FILE__, __LINE__, " " __VA_ARGS__)
#define cr_assert_fail(...) cr_assert(false, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), __VA_ARGS__)
