/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Client: the way from a verb to a running tracker's control interface.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include "tracker1.h"

/* Of the tracker NAME. NULL with @error: no such tracker, not allowed. Calls through it have no
 * time limit of D-Bus' own: every wait in the tracker is bounded. */
VdtTracker1 *vdt_client_new(const char *name, GError **error);

/* Remote errors keep their code; D-Bus' prefix is taken off the message. */
void vdt_client_strip(GError *error);

JsonNode *vdt_client_json(const char *text, GError **error);
