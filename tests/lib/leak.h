/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Leaks fail a test. Criterion runs each test in a child that leaves by _exit(), so LeakSanitizer's
 * end-of-process check never runs; every suite here asks for it when a test has ended.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define VDT_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VDT_TEST_ASAN 1
#endif
#endif

#ifdef VDT_TEST_ASAN
#include <sanitizer/lsan_interface.h>
#endif

/* abort(), since Criterion ignores an assertion of a fini function. */
static inline void
vdt_test_check_leaks(void)
{
#ifdef VDT_TEST_ASAN
    if (__lsan_do_recoverable_leak_check()) {
        fprintf(stderr, "the test leaked memory\n");
        abort();
    }
#endif
}

#define VDT_SUITE(name) TestSuite(name, .fini = vdt_test_check_leaks)
