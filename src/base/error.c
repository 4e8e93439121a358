/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <vdpa-tracker/error.h>

G_DEFINE_QUARK(vdt-error-quark, vdt_error)
