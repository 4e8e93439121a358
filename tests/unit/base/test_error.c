/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

VDT_SUITE(error);

Test(error, domain_is_one_and_named)
{
    cr_assert_eq(VDT_ERROR, vdt_error_quark());
    cr_assert_str_eq(g_quark_to_string(VDT_ERROR), "vdt-error-quark");
}

/* Programs outside this tree compare these numbers. */
Test(error, codes_keep_their_numbers)
{
    cr_assert_eq(VDT_ERROR_FAILED, 0);
    cr_assert_eq(VDT_ERROR_USAGE, 1);
    cr_assert_eq(VDT_ERROR_REFUSED, 2);
    cr_assert_eq(VDT_ERROR_INVALID, 3);
    cr_assert_eq(VDT_ERROR_UNSUPPORTED, 4);
    cr_assert_eq(VDT_ERROR_TIMEOUT, 5);
    cr_assert_eq(VDT_ERROR_BUSY, 6);
}
