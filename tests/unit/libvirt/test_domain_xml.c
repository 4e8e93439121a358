/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "libvirt/domain_xml.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "migration/baseline.h"

VDT_SUITE(domain_xml);

#define UUID "11111111-2222-3333-4444-555555555555"
#define HEAD "<domain type='kvm'><name>web</name><uuid>" UUID "</uuid>"
#define META(nics)                                                                                 \
    "<metadata><vt:tracker xmlns:vt='urn:vdpa-tracker:libvirt:1'>" nics "</vt:tracker></metadata>"
#define NIC                                                                                        \
    "<vt:nic mac='52:54:00:AA:00:01' device='vdpa:blue' format='2' "                               \
    "features='MAC VERSION_1' pairs='1' ring-size='256'/>"

static struct vdt_domain *
parse(const char *xml, GError **error)
{
    return vdt_domain_parse(xml, strlen(xml), error);
}

Test(domain_xml, a_nic_of_ours_is_read_with_its_interface_and_limits)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(domain)
    domain = parse(
        HEAD META(
            NIC) "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
                 "<devices><interface type='network'><mac address='52:54:00:aa:00:02'/></interface>"
                 "<interface type='vhostuser'><mac address='52:54:00:aa:00:01'/>"
                 "<source type='unix' path='/run/vdpa-tracker/x.sock' mode='client'>"
                 "<reconnect enabled='yes' timeout='1'/></source></interface></devices></domain>",
        &error);
    struct vdt_baseline baseline;

    cr_assert(domain, "%s", error ? error->message : "");
    cr_expect_str_eq(domain->name, "web");
    cr_expect_str_eq(domain->uuid, UUID);
    cr_expect(domain->shares_memory);
    cr_assert_eq(domain->nics->len, 1);
    const struct vdt_domain_nic *nic = domain->nics->pdata[0];
    cr_expect_str_eq(nic->mac, "52:54:00:aa:00:01");
    cr_expect_str_eq(nic->device, "vdpa:blue");
    cr_expect_str_eq(nic->type, "vhostuser");
    cr_expect_str_eq(nic->socket, "/run/vdpa-tracker/x.sock");
    cr_expect(nic->client && nic->reconnects);
    cr_expect_eq(nic->format, 2);
    cr_assert(vdt_baseline_from_text(&baseline, nic->baseline, strlen(nic->baseline), &error), "%s",
              error ? error->message : "");
    cr_expect_eq(baseline.ring_max, 256);
}

Test(domain_xml, a_domain_without_metadata_of_ours_has_no_nic)
{
    static const char *const rows[] = {
        HEAD "</domain>",
        HEAD "<metadata/></domain>",
        HEAD "<metadata><vt:tracker xmlns:vt='urn:somebody:else'>" NIC "</vt:tracker></metadata>"
             "</domain>",
        HEAD "<metadata><tracker><nic mac='x'/></tracker></metadata></domain>",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        VDT_AUTO(domain) domain = parse(rows[i], &error);

        cr_assert(domain, "%u: %s", i, error ? error->message : "");
        cr_expect_eq(domain->nics->len, 0, "%u", i);
    }
}

Test(domain_xml, what_cannot_be_understood_is_refused_by_name)
{
    static const struct {
        const char *xml, *why;
    } rows[] = {
        {"", "there is none"},
        {"no xml", "line 1"},
        {"<domain>", "line 1"},
        {"<network/>", "not of a domain"},
        {"<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>", "document type"},
        {"<!DOCTYPE domain SYSTEM 'file:///etc/passwd'><domain/>", "document type"},
        {HEAD META("<vt:nic device='vdpa:a'/>") "</domain>", "mac is missing"},
        {HEAD META("<vt:nic mac='52:54:00:aa:00' device='vdpa:a'/>") "</domain>", "mac is 52:54"},
        {HEAD META("<vt:nic mac='52:54:00:aa:00:0g' device='vdpa:a'/>") "</domain>", "mac is 52:5"},
        {HEAD META("<vt:nic mac='52:54:00:aa:00:01'/>") "</domain>", "names no device"},
        {HEAD META(NIC NIC) "</domain>", "twice"},
        {HEAD META("<vt:nic mac='52:54:00:aa:00:01' device='vdpa:a' format='-1'/>") "</domain>",
         "format -1 is no number"},
        {HEAD META("<vt:nic mac='52:54:00:aa:00:01' device='vdpa:a' "
                   "features='MAC&#10;pairs = 9'/>") "</domain>",
         "features is not one line"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        cr_expect_null(parse(rows[i].xml, &error), "%u", i);
        cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID), "%u", i);
        cr_expect(strstr(error->message, rows[i].why), "%u: %s", i, error->message);
    }
}

/* Entities that double at each level: refused before one is expanded. */
Test(domain_xml, a_document_that_would_grow_is_refused, .timeout = 10)
{
    g_autoptr(GString) xml = g_string_new("<!DOCTYPE domain [<!ENTITY e0 'xxxxxxxxxxxxxxxx'>");
    g_autoptr(GError) error = NULL;

    for (unsigned i = 1; i < 40; i++)
        g_string_append_printf(xml, "<!ENTITY e%u '&e%u;&e%u;'>", i, i - 1, i - 1);
    g_string_append(xml, "]><domain><name>&e39;</name></domain>");
    cr_expect_null(vdt_domain_parse(xml->str, xml->len, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID));
}

/* Its texts are nobody's to free. */
#define TEXT(text) ((char *) (text))
static const struct vdt_domain_nic wanted = {
    .mac = TEXT("52:54:00:aa:00:01"),
    .device = TEXT("vdpa:blue"),
    .baseline = TEXT("[baseline]\nformat = 1\ntype = net\nfeatures = MAC VERSION_1\npairs = 1\n"
                     "ring-size = 256\n"),
    .format = 1,
    .socket = TEXT("/run/vdpa-tracker/x.sock"),
};

static void
expect_attached(const char *xml)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(domain) domain = parse(xml, &error);

    cr_assert(domain, "%s", error ? error->message : "");
    cr_assert_eq(domain->nics->len, 1, "%s", xml);
    const struct vdt_domain_nic *nic = domain->nics->pdata[0];
    cr_expect_str_eq(nic->mac, wanted.mac);
    cr_expect_str_eq(nic->device, wanted.device);
    cr_expect_str_eq(nic->baseline, wanted.baseline);
    cr_expect_str_eq(nic->socket, wanted.socket);
    cr_expect_str_eq(nic->type, "vhostuser");
    cr_expect_eq(nic->format, 1);
    cr_expect(nic->client && nic->reconnects && domain->shares_memory);
}

Test(domain_xml, attach_turns_an_interface_into_ours_and_keeps_the_rest)
{
    static const char before[] =
        HEAD "<memory unit='KiB'>1024</memory><devices>"
             "<interface type='bridge'><mac address='52:54:00:AA:00:01'/><source bridge='br0'/>"
             "<target dev='vnet3'/><model type='virtio'/><driver queues='4'/>"
             "<address type='pci' bus='0x01'/></interface>"
             "<disk type='file' device='disk'/></devices></domain>";
    g_autoptr(GError) error = NULL;
    g_autofree char *once = vdt_domain_attach(before, strlen(before), &wanted, &error);

    cr_assert(once, "%s", error ? error->message : "");
    expect_attached(once);
    static const char *const kept[] = {"<driver queues=\"4\"/>", "<address type=\"pci\"",
                                       "<disk type=\"file\"", "<memory unit=\"KiB\">1024</memory>"};
    for (unsigned i = 0; i < G_N_ELEMENTS(kept); i++)
        cr_expect(strstr(once, kept[i]), "%s is lost: %s", kept[i], once);
    cr_expect_not(strstr(once, "br0") || strstr(once, "vnet3"), "%s", once);
    /* Once more changes nothing. */
    g_autofree char *twice = vdt_domain_attach(once, strlen(once), &wanted, &error);
    cr_expect_str_eq(twice, once);
}

Test(domain_xml, attach_adds_an_interface_where_there_is_none)
{
    static const char before[] = HEAD "</domain>";
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = vdt_domain_attach(before, strlen(before), &wanted, &error);

    cr_assert(xml, "%s", error ? error->message : "");
    expect_attached(xml);
}

Test(domain_xml, huge_pages_stay_the_guests_memory)
{
    static const char before[] =
        HEAD "<memoryBacking><hugepages/></memoryBacking><devices/></domain>";
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = vdt_domain_attach(before, strlen(before), &wanted, &error);

    cr_assert(xml);
    cr_expect(strstr(xml, "<hugepages/>") && !strstr(xml, "memfd"), "%s", xml);
    expect_attached(xml);
}

Test(domain_xml, sockets_move_with_their_folder)
{
    static const char before[] = HEAD META(
        NIC) "<devices><interface type='vhostuser'><mac address='52:54:00:aa:00:01'/>"
             "<source type='unix' path='/run/vdpa-tracker/x.sock' mode='client'/></interface>"
             "<interface type='vhostuser'><mac address='52:54:00:aa:00:09'/>"
             "<source type='unix' path='/run/vdpa-tracker/y.sock' mode='client'/></interface>"
             "</devices></domain>";
    g_autoptr(GError) error = NULL;
    g_autofree char *moved = NULL;
    g_autofree char *same = NULL;

    cr_assert(vdt_domain_move_sockets(before, strlen(before), "/run/vdpa-tracker", "/srv/vt",
                                      &moved, &error));
    cr_assert(moved);
    cr_expect(strstr(moved, "/srv/vt/x.sock"), "%s", moved);
    cr_expect(strstr(moved, "/run/vdpa-tracker/y.sock"), "not ours: %s", moved);
    cr_assert(
        vdt_domain_move_sockets(before, strlen(before), "/run/vdpa", "/srv/vt", &same, &error));
    cr_expect_null(same, "%s", same);
}
