/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/verb.h"

#include <stdio.h>
#include <unistd.h>

#define EXITS                                                                                      \
    "0  done      1  failed      2  wrong usage      3  refused: the state cannot be carried"

static GOptionContext *
make_context(const struct vdt_verb *verb, const GOptionEntry *entries)
{
    g_autofree char *parameters = g_strdup_printf("%s", verb->arguments);
    GOptionContext *context = g_option_context_new(parameters);

    g_option_context_set_summary(context, verb->teach);
    g_autofree char *exits =
        g_strdup_printf("Exit codes:\n  %s", verb->exits ? verb->exits : EXITS);
    g_option_context_set_description(context, exits);
    if (entries)
        g_option_context_add_main_entries(context, entries, NULL);
    return context;
}

static void
usage(const struct vdt_verb *verb, const char *message)
{
    fprintf(stderr,
            "vdpa-tracker: %s: %s\n"
            "Usage: vdpa-tracker %s %s\n"
            "\"vdpa-tracker help %s\" says more.\n",
            verb->name, message, verb->name, verb->arguments, verb->name);
}

bool
vdt_verb_parse(const struct vdt_verb *verb, const GOptionEntry *entries, int *argc, char ***argv,
               int least, int most, int *ret_exit)
{
    g_autoptr(GOptionContext) context = make_context(verb, entries);
    g_autoptr(GError) error = NULL;
    gboolean help = FALSE;
    const GOptionEntry own[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Show this", NULL},
        {NULL},
    };

    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, own, NULL);
    *ret_exit = VDT_EXIT_USAGE;
    g_autofree char *program = g_strdup_printf("vdpa-tracker %s", verb->name);
    g_set_prgname(program);
    bool ok = g_option_context_parse(context, argc, argv, &error);
    if (!ok) {
        usage(verb, error->message);
    } else if (help) {
        g_autofree char *text = g_option_context_get_help(context, TRUE, NULL);
        fputs(text, stdout);
        *ret_exit = VDT_EXIT_DONE;
        ok = false;
    } else {
        /* "--" ends the options and is no word. */
        if (*argc > 1 && g_str_equal((*argv)[1], "--")) {
            (*argv)++;
            (*argc)--;
        }
        if (*argc - 1 < least) {
            usage(verb, "something is missing");
            ok = false;
        } else if (*argc - 1 > most) {
            usage(verb, "too many words");
            ok = false;
        }
    }
    g_set_prgname("vdpa-tracker");
    return ok;
}

bool
vdt_verb_positive(int *value)
{
    if (*value == VDT_ABSENT)
        *value = 0;
    else if (*value < 1)
        return false;
    return true;
}

bool
vdt_verb_misword(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_USAGE, text);
    return false;
}

bool
vdt_verb_in_range(const char *name, int value, int least, int most, GError **error)
{
    return (value >= least && value <= most) ||
           vdt_verb_misword(error, "%s %d: %d to %d is possible", name, value, least, most);
}

static int
exit_of(const GError *error)
{
    if (g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE))
        return VDT_EXIT_USAGE;
    if (g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED))
        return VDT_EXIT_REFUSED;
    return VDT_EXIT_FAILED;
}

static JsonNode *
error_json(const GError *error, int exit_code)
{
    static const char *const kinds[] = {
        [VDT_ERROR_FAILED] = "failed",   [VDT_ERROR_USAGE] = "usage",
        [VDT_ERROR_REFUSED] = "refused", [VDT_ERROR_INVALID] = "invalid",
        [VDT_ERROR_BUSY] = "busy",       [VDT_ERROR_UNSUPPORTED] = "unsupported",
        [VDT_ERROR_TIMEOUT] = "timeout",
    };
    g_autoptr(JsonBuilder) builder = json_builder_new();
    bool ours =
        error->domain == VDT_ERROR && error->code >= 0 && error->code < (int) G_N_ELEMENTS(kinds);

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "kind");
    json_builder_add_string_value(builder, ours ? kinds[error->code] : "failed");
    json_builder_set_member_name(builder, "message");
    json_builder_add_string_value(builder, error->message);
    json_builder_set_member_name(builder, "exit");
    json_builder_add_int_value(builder, exit_code);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

JsonNode *
vdt_error_json(const GError *error)
{
    return error ? error_json(error, exit_of(error)) : json_node_new(JSON_NODE_NULL);
}

int
vdt_verb_fail_with(int exit_code, bool json, GError *error)
{
    fprintf(stderr, "vdpa-tracker: %s\n", error->message);
    if (json) {
        g_autoptr(JsonBuilder) builder = json_builder_new();
        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "error");
        json_builder_add_value(builder, error_json(error, exit_code));
        json_builder_end_object(builder);
        vdt_print_json(json_builder_get_root(builder));
    }
    g_error_free(error);
    return exit_code;
}

int
vdt_verb_fail(bool json, GError *error)
{
    return vdt_verb_fail_with(exit_of(error), json, error);
}

int
vdt_verb_misused(bool json, const char *message)
{
    return vdt_verb_fail(json, g_error_new_literal(VDT_ERROR, VDT_ERROR_USAGE, message));
}

void
vdt_print_json(JsonNode *node)
{
    g_autofree char *text = json_to_string(node, isatty(STDOUT_FILENO));

    puts(text);
    json_node_unref(node);
}
