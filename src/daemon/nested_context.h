/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nested context: a GSource through which one GMainContext drives another. Whoever has to wait for
 * the inner one alone (draining the control queue in the middle of a switch) can run it by itself,
 * and nothing else of the process is run meanwhile.
 *
 * Thread: that of the outer context; the inner one must not be run elsewhere.
 */
#pragma once

#include <glib.h>

/* Attach it to the outer context. A reference to @inner is held. */
GSource *vdt_nested_context_source(GMainContext *inner);
