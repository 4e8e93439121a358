/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "random/plan.h"

#include "virtio/features.h"
#include "virtio/net_ctrl.h"

unsigned
plan_below(struct plan *plan, unsigned end)
{
    return (unsigned) g_rand_int_range(plan->rand, 0, (gint32) end);
}

static bool
one_in(struct plan *plan, unsigned n)
{
    return plan_below(plan, n) == 0;
}

/* Whole groups of control commands that this guest does without. */
static uint64_t
drop_some(struct plan *plan)
{
    static const unsigned bits[] = {
        VIRTIO_NET_F_RSS,       VIRTIO_NET_F_HASH_REPORT,   VIRTIO_NET_F_MRG_RXBUF,
        VIRTIO_NET_F_NOTF_COAL, VIRTIO_NET_F_VQ_NOTF_COAL,  VIRTIO_NET_F_DEVICE_STATS,
        VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_RX_EXTRA,
    };
    uint64_t drop = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        if (one_in(plan, 4))
            drop |= VDT_BIT(bits[i]);
    }
    return drop;
}

static char *
spec(const struct plan *plan, const char *more)
{
    return g_strdup_printf("sim:pairs=%u,num=%u,seed=%u%s%s", plan->pairs, plan->num,
                           (unsigned) (plan->seed & 0xffffff) + 1,
                           plan->in_order ? ",in-order" : "", more);
}

void
plan_draw(struct plan *plan, uint64_t seed)
{
    g_autoptr(GString) slow = g_string_new(NULL);

    *plan = (struct plan){.seed = seed};
    plan->rand = g_rand_new_with_seed((guint32) (seed * 2654435761u ^ seed >> 32));
    plan->packed = one_in(plan, 2);
    plan->event_idx = one_in(plan, 2);
    plan->indirect = one_in(plan, 2);
    plan->in_order = one_in(plan, 4);
    plan->ooo = !plan->in_order && !one_in(plan, 3);
    plan->no_suspend = one_in(plan, 8);
    plan->pairs = 1 + (one_in(plan, 2) ? 0 : plan_below(plan, 4));
    plan->num = 8u << plan_below(plan, 4);
    plan->hold = plan->no_suspend || one_in(plan, 5) ? 0 : 1 + plan_below(plan, plan->num / 2);
    plan->latency = one_in(plan, 3) ? plan_below(plan, 200) : 0;
    plan->dropped = drop_some(plan) | (plan->event_idx ? 0 : VDT_BIT(VIRTIO_RING_F_EVENT_IDX)) |
                    (plan->indirect ? 0 : VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC));
    plan->steps_before = 2 + plan_below(plan, 30);
    plan->steps_logging = 1 + plan_below(plan, 30);
    plan->batch = 1 + plan_below(plan, 8);
    plan->command_every = 1 + plan_below(plan, 4);
    plan->vlans = one_in(plan, 4) ? plan_below(plan, 200) : plan_below(plan, 8);
    /* Passthrough cannot tell what is in flight when a device completes out of order; it says so.
     */
    plan->policy = plan->ooo || one_in(plan, 3) ? VDT_SHADOW_ALWAYS : VDT_SHADOW_AUTO;
    plan->end =
        (enum plan_end[]){PLAN_MOVE, PLAN_MOVE,   PLAN_MOVE,  PLAN_MOVE,
                          PLAN_MOVE, PLAN_REFUSE, PLAN_AGAIN, PLAN_CANCEL}[plan_below(plan, 8)];
    plan->twice = one_in(plan, 4);
    plan->wavers = one_in(plan, 4);
    plan->grows = (enum plan_memory[]){PLAN_REGION, PLAN_TABLE, PLAN_STAYS,
                                       PLAN_STAYS,  PLAN_STAYS, PLAN_STAYS}[plan_below(plan, 6)];
    /* Not where it starts twice: the same command of the replay would be refused. */
    if (plan->grows != PLAN_TABLE && (plan->end == PLAN_MOVE || plan->end == PLAN_AGAIN) &&
        one_in(plan, 4))
        plan->nak = 1 + plan_below(plan, 12);
    if (plan->ooo)
        g_string_append(slow, ",ooo");
    if (plan->no_suspend)
        g_string_append(slow, ",no-suspend");
    if (plan->hold)
        g_string_append_printf(slow, ",hold=%u", plan->hold);
    if (plan->latency)
        g_string_append_printf(slow, ",latency=%u", plan->latency);
    plan->target = spec(plan, plan->ooo && one_in(plan, 2) ? ",ooo" : "");
    if (plan->nak)
        g_string_append_printf(slow, ",nak=%u", plan->nak);
    plan->source = spec(plan, slow->str);
}

void
plan_clear(struct plan *plan)
{
    g_clear_pointer(&plan->rand, g_rand_free);
    g_clear_pointer(&plan->source, g_free);
    g_clear_pointer(&plan->target, g_free);
}

char *
plan_describe(const struct plan *plan)
{
    static const char *const ends[] = {"moves", "is refused", "is refused, then moves",
                                       "is cancelled"};

    return g_strdup_printf("%s, %s, %s%s%s%s%s, vlans %u, steps %u and %u: it %s",
                           plan->packed ? "packed" : "split", plan->source,
                           plan->policy == VDT_SHADOW_ALWAYS ? "always shadow" : "auto",
                           plan->event_idx ? ", event idx" : "", plan->indirect ? ", indirect" : "",
                           plan->wavers ? ", wavers" : "",
                           ((const char *const[]){"", ", a region", ", a table"})[plan->grows],
                           plan->vlans, plan->steps_before, plan->steps_logging, ends[plan->end]);
}
