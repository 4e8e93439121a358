/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/top.h"

#include <stdbool.h>

#include "tools/vdpa-tracker/status_look.h"
#include "tools/vdpa-tracker/table.h"
#include "tools/vdpa-tracker/tracker_list.h"

struct counters {
    gint64 chains, in, out;
};

/* One tracker in one look. */
struct look {
    char *name, *device, *phase, *mode, *problem; /* owned, NULL: not told */
    gint64 pid, at_us;
    gint64 in_flight, dirty;
    bool answers, logging;
    bool counted;  /* all data rings that run pass through the tracker */
    GArray *rings; /* owned: struct counters by index, 0 where nothing is counted */
    bool rated;
    double chains, in, out; /* a second */
};

struct vdt_top {
    GPtrArray *looks; /* owned: struct look *, by name */
};

static void
free_look(gpointer data)
{
    struct look *look = data;

    g_free(look->name);
    g_free(look->device);
    g_free(look->phase);
    g_free(look->mode);
    g_free(look->problem);
    g_array_unref(look->rings);
    g_free(look);
}

struct vdt_top *
vdt_top_new(void)
{
    struct vdt_top *top = g_new0(struct vdt_top, 1);

    top->looks = g_ptr_array_new_with_free_func(free_look);
    return top;
}

void
vdt_top_free(struct vdt_top *top)
{
    if (!top)
        return;
    g_ptr_array_unref(top->looks);
    g_free(top);
}

static void
take_ring(struct look *look, JsonNode *ring)
{
    struct counters c = {0};
    gint64 in_flight = 0;
    const char *broken = vdt_look_text(ring, "broken");

    if (g_strcmp0(vdt_look_text(ring, "kind"), "cvq") != 0) {
        if (!vdt_look_bool(ring, "counted")) {
            look->counted = false;
        } else {
            vdt_look_number(ring, "chains", &c.chains);
            vdt_look_number(ring, "bytes_in", &c.in);
            vdt_look_number(ring, "bytes_out", &c.out);
            vdt_look_number(ring, "in_flight", &in_flight);
            look->in_flight += in_flight;
        }
    }
    if (broken && !look->problem)
        look->problem = g_strdup_printf("ring %u: %s", look->rings->len, broken);
    g_array_append_val(look->rings, c);
}

static struct look *
take_tracker(const struct vdt_listed_tracker *tracker)
{
    struct look *look = g_new0(struct look, 1);
    JsonNode *status = tracker->status;
    JsonArray *rings = vdt_look_array(status, "rings");

    look->name = g_strdup(tracker->name);
    look->at_us = tracker->at_us;
    look->rings = g_array_new(FALSE, TRUE, sizeof(struct counters));
    look->answers = status != NULL;
    look->counted = look->answers;
    look->problem =
        g_strdup(tracker->failure                   ? tracker->failure
                 : vdt_look_text(status, "failure") ? vdt_look_text(status, "failure")
                                                    : vdt_look_text(status, "unmigratable"));
    look->device = g_strdup(vdt_look_text(status, "device.name"));
    look->phase = g_strdup(vdt_look_text(status, "phase"));
    look->mode = g_strdup(vdt_look_text(status, "mode"));
    look->logging = vdt_look_bool(status, "logging");
    vdt_look_number(status, "pid", &look->pid);
    vdt_look_number(status, "dirty_pages", &look->dirty);
    for (guint i = 0; rings && i < json_array_get_length(rings); i++)
        take_ring(look, json_array_get_element(rings, i));
    return look;
}

/* A ring's counters begin at 0 with each start of the ring. */
static gint64
gain(gint64 now, gint64 before)
{
    return now >= before ? now - before : MAX(now, 0);
}

static void
rate(struct look *look, const struct look *before)
{
    gint64 us = look->at_us - before->at_us;
    struct counters sum = {0};

    if (!look->answers || !before->answers || !look->counted || look->pid != before->pid || us <= 0)
        return;
    for (guint i = 0; i < look->rings->len; i++) {
        const struct counters *now = &g_array_index(look->rings, struct counters, i);
        struct counters was = {0};

        if (i < before->rings->len)
            was = g_array_index(before->rings, struct counters, i);
        sum.chains += gain(now->chains, was.chains);
        sum.in += gain(now->in, was.in);
        sum.out += gain(now->out, was.out);
    }
    look->rated = true;
    look->chains = (double) sum.chains * G_USEC_PER_SEC / (double) us;
    look->in = (double) sum.in * G_USEC_PER_SEC / (double) us;
    look->out = (double) sum.out * G_USEC_PER_SEC / (double) us;
}

void
vdt_top_take(struct vdt_top *top, const GPtrArray *trackers)
{
    GPtrArray *before = top->looks;

    top->looks = g_ptr_array_new_with_free_func(free_look);
    for (guint i = 0; i < trackers->len; i++) {
        struct look *look = take_tracker(trackers->pdata[i]);

        for (guint k = 0; k < before->len; k++) {
            const struct look *earlier = before->pdata[k];
            if (g_str_equal(earlier->name, look->name))
                rate(look, earlier);
        }
        g_ptr_array_add(top->looks, look);
    }
    g_ptr_array_unref(before);
}

enum { NAME, DEVICE, PHASE, MODE, CHAINS, IN, OUT, IN_FLIGHT, LOG, DIRTY, PROBLEM, COLUMNS };
#define RIGHT (1u << CHAINS | 1u << IN | 1u << OUT | 1u << IN_FLIGHT | 1u << DIRTY)

static void
free_cells(gpointer data)
{
    char **cells = data;

    for (unsigned i = 0; i < COLUMNS; i++)
        g_free(cells[i]);
    g_free(cells);
}

static char **
cells_of(const struct look *look)
{
    char **cells = g_new0(char *, COLUMNS);

    cells[NAME] = g_strdup(look->name);
    cells[DEVICE] = g_strdup(look->device);
    cells[PHASE] = g_strdup(look->phase);
    cells[MODE] = g_strdup(look->mode);
    if (look->rated) {
        cells[CHAINS] = g_strdup_printf("%.0f", look->chains);
        cells[IN] = g_strdup_printf("%.2f", look->in / 1e6);
        cells[OUT] = g_strdup_printf("%.2f", look->out / 1e6);
    }
    if (look->counted)
        cells[IN_FLIGHT] = g_strdup_printf("%" G_GINT64_FORMAT, look->in_flight);
    if (look->answers) {
        cells[LOG] = g_strdup(look->logging ? "on" : "off");
        cells[DIRTY] = g_strdup_printf("%" G_GINT64_FORMAT, look->dirty);
    }
    cells[PROBLEM] = g_strdup(look->problem);
    return cells;
}

char *
vdt_top_text(const struct vdt_top *top)
{
    static const char *const heads[COLUMNS] = {"NAME",     "DEVICE",  "PHASE",    "MODE",
                                               "CHAINS/s", "IN MB/s", "OUT MB/s", "INFLIGHT",
                                               "LOG",      "DIRTY",   "PROBLEM"};
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(free_cells);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < top->looks->len; i++)
        g_ptr_array_add(rows, cells_of(top->looks->pdata[i]));
    vdt_table_add(text, heads, COLUMNS, RIGHT, rows);
    return g_string_free(text, FALSE);
}

static void
add_rate(JsonObject *object, const char *name, const struct look *look, double value)
{
    if (look->rated)
        json_object_set_double_member(object, name, value);
    else
        json_object_set_null_member(object, name);
}

static void
add_number(JsonObject *object, const char *name, bool known, gint64 value)
{
    if (known)
        json_object_set_int_member(object, name, value);
    else
        json_object_set_null_member(object, name);
}

JsonNode *
vdt_top_json(const struct vdt_top *top, gint64 now_us)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *all = json_object_new();
    JsonArray *array = json_array_new();

    for (guint i = 0; i < top->looks->len; i++) {
        const struct look *look = top->looks->pdata[i];
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "name", look->name);
        json_object_set_string_member(object, "device", look->device);
        json_object_set_string_member(object, "phase", look->phase);
        json_object_set_string_member(object, "mode", look->mode);
        add_rate(object, "chains_per_second", look, look->chains);
        add_rate(object, "bytes_in_per_second", look, look->in);
        add_rate(object, "bytes_out_per_second", look, look->out);
        add_number(object, "in_flight", look->counted, look->in_flight);
        json_object_set_boolean_member(object, "logging", look->logging);
        add_number(object, "dirty_pages", look->answers, look->dirty);
        json_object_set_string_member(object, "problem", look->problem);
        json_array_add_object_element(array, object);
    }
    json_object_set_int_member(all, "time_us", now_us);
    json_object_set_array_member(all, "trackers", array);
    json_node_take_object(node, all);
    return node;
}
