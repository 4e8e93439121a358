/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP: a QEMU's monitor, one question at a time, and its events. What QEMU says is untrusted: a
 * line that is no JSON, or longer than VDT_QMP_LINE_MAX, ends the connection.
 *
 * Thread: the default main context's. No hook is called from within a call.
 */
#pragma once

#include <json-glib/json-glib.h>

#define VDT_QMP_LINE_MAX (1u << 20)

struct vdt_qmp;

struct vdt_qmp_hooks {
    void (*ready)(void *ctx);                                   /* questions may be asked */
    void (*event)(void *ctx, const char *name, JsonNode *data); /* @data may be NULL */
    /* @answer: what "return" has; NULL with @error where QEMU refuses. */
    void (*answer)(void *ctx, JsonNode *answer, const GError *error);
    void (*ended)(void *ctx, const GError *reason); /* the last that is called */
    void *ctx;
};

/* NULL with @error: nobody listens at @path. */
struct vdt_qmp *vdt_qmp_new(const char *path, const struct vdt_qmp_hooks *hooks, GError **error);
void vdt_qmp_free(struct vdt_qmp *qmp); /* accepts NULL */
/* A command without arguments. */
void vdt_qmp_ask(struct vdt_qmp *qmp, const char *command);
