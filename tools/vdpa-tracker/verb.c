/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/verb.h"

#include <stdio.h>
#include <unistd.h>

#define EXITS                                                                                      \
    "Exit codes:\n"                                                                                \
    "  0  done      1  failed      2  wrong usage      3  refused: the state cannot be carried"

static GOptionContext *
make_context(const struct vdt_verb *verb, const GOptionEntry *entries)
{
    g_autofree char *parameters = g_strdup_printf("%s", verb->arguments);
    GOptionContext *context = g_option_context_new(parameters);

    g_option_context_set_summary(context, verb->teach);
    g_option_context_set_description(context, EXITS);
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

int
vdt_verb_fail(GError *error)
{
    bool ours = error->domain == VDT_ERROR;
    int code = VDT_EXIT_FAILED;

    if (ours && error->code == VDT_ERROR_USAGE)
        code = VDT_EXIT_USAGE;
    if (ours && error->code == VDT_ERROR_REFUSED)
        code = VDT_EXIT_REFUSED;
    fprintf(stderr, "vdpa-tracker: %s\n", error->message);
    g_error_free(error);
    return code;
}

void
vdt_print_json(JsonNode *node)
{
    g_autofree char *text = json_to_string(node, isatty(STDOUT_FILENO));

    puts(text);
    json_node_unref(node);
}
