/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * OpenMetrics: a strict reader of what we write, after the text format's grammar. Every line has to
 * match; a family stands once, its samples with it; what no scraper would take is an error.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* @old: the older text format of Prometheus, without # EOF and with fewer types. Samples by
 * "name{labels}", as they stand: char * to char *. NULL with @ret_why, the caller's. */
GHashTable *openmetrics_read(const char *text, bool old, char **ret_why);
