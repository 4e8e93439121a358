/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verb: one command of the command line. A verb is a row of the table in main.c and a file of its
 * own; what they share is here: options, help, exit codes, JSON.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <limits.h>
#include <stdbool.h>

#include <vdpa-tracker/error.h>

enum vdt_exit {
    VDT_EXIT_DONE = 0,
    VDT_EXIT_FAILED = 1,
    VDT_EXIT_USAGE = 2,
    VDT_EXIT_REFUSED = 3, /* the state cannot be carried */
};

struct vdt_verb {
    const char *name;
    const char *arguments; /* "NAME [FILE]" */
    const char *summary;   /* one line of the verb list */
    const char *teach;     /* what it does, with examples; part of --help */
    /* @argv[0] is the verb. Returns an exit code. */
    int (*run)(const struct vdt_verb *verb, int argc, char **argv);
    const char *exits; /* what its exit codes say, where that is not what those of all others do */
};

const struct vdt_verb *vdt_verb_find(const char *name);

/*
 * Parse the verb's options; @least to @most words are left in @argv[1..]. False: *ret_exit says
 * what to end with (--help ends with 0), the message is out already.
 */
bool vdt_verb_parse(const struct vdt_verb *verb, const GOptionEntry *entries, int *argc,
                    char ***argv, int least, int most, int *ret_exit);

/* What the value of a number's option is before its words are parsed. */
#define VDT_ABSENT INT_MIN

/* An option that counts from 1: false where *value is less. One that was not given becomes 0. */
bool vdt_verb_positive(int *value);

/* Words that are off: sets @error, VDT_ERROR_USAGE, and is false. */
bool vdt_verb_misword(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same where @value of option @name is not @least to @most. */
bool vdt_verb_in_range(const char *name, int value, int least, int most, GError **error);

/* "vdpa-tracker: MESSAGE" on stderr, with @json also {"error": {...}} on standard output; frees
 * @error; the exit code that goes with it. */
int vdt_verb_fail(bool json, GError *error);
/* The same where the verb has an exit code of its own for it. */
int vdt_verb_fail_with(int exit_code, bool json, GError *error);
/* The same for words that are off: the exit code is 2. */
int vdt_verb_misused(bool json, const char *message);

/* {kind, message, exit}, as scripts see every failure; null without one. */
JsonNode *vdt_error_json(const GError *error);

/* @node freed. Indented on a terminal, one line elsewhere. */
void vdt_print_json(JsonNode *node);

/* The verbs. */
int vdt_verb_attach(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_baseline(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_ci_migrate(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_check(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_demo(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_diff(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_hook(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_filter(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_list(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_metrics(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_replay(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_restore(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_run(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_show(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_snapshot(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_status(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_swap(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_top(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_trace(const struct vdt_verb *verb, int argc, char **argv);
int vdt_verb_watch(const struct vdt_verb *verb, int argc, char **argv);
