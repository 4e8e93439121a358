/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "migration/baseline.h"
#include "virtio/features.h"

#define GROUP "baseline"
#define BYTES_MAX 65536u
#define FORMAT 1u

/* The numbers of a file, in its order. */
static const struct {
    const char *key;
    size_t at, size;
    uint64_t features; /* there with one of these, and only then; 0: always */
    uint32_t least, most;
    bool hex;
} numbers[] = {
#define FIELD(member)                                                                              \
    offsetof(struct vdt_baseline, member), sizeof(((struct vdt_baseline *) NULL)->member)
#define BIT(feature) VDT_BIT(VIRTIO_NET_F_##feature)
    {"pairs", FIELD(pairs), 0, 1, VDT_PAIRS_MAX, false},
    {"ring-size", FIELD(ring_max), 0, 2, VDT_RING_MAX, false},
    {"mtu", FIELD(mtu), BIT(MTU), 68, UINT16_MAX, false},
    {"rss-key", FIELD(rss_key_max), BIT(RSS) | BIT(HASH_REPORT), 0, UINT8_MAX, false},
    {"rss-table", FIELD(rss_table_max), BIT(RSS) | BIT(HASH_REPORT), 0, VDT_RSS_TABLE_MAX, false},
    {"hash-types", FIELD(hash_types), BIT(RSS) | BIT(HASH_REPORT), 1, UINT32_MAX, true},
};

static bool
is_there(unsigned i, uint64_t features)
{
    return !numbers[i].features || features & numbers[i].features;
}

/* Fields are unsigned and of this host's byte order. */
static uint32_t
get(const struct vdt_baseline *b, unsigned i)
{
    const uint8_t *field = (const uint8_t *) b + numbers[i].at;

    return numbers[i].size == 1   ? *field
           : numbers[i].size == 2 ? *(const uint16_t *) (const void *) field
                                  : *(const uint32_t *) (const void *) field;
}

static void
set(struct vdt_baseline *b, unsigned i, uint32_t value)
{
    uint8_t *field = (uint8_t *) b + numbers[i].at;

    if (numbers[i].size == 1)
        *field = (uint8_t) value;
    else if (numbers[i].size == 2)
        *(uint16_t *) (void *) field = (uint16_t) value;
    else
        *(uint32_t *) (void *) field = value;
}

char *
vdt_baseline_to_text(const struct vdt_baseline *b)
{
    GString *text = g_string_new("[" GROUP "]\nformat = 1\ntype = net\n");
    g_autofree char *features = vdt_features_to_string(VIRTIO_ID_NET, b->features);

    g_string_append_printf(text, "features = %s\n", features);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        if (is_there(i, b->features))
            g_string_append_printf(text, numbers[i].hex ? "%s = 0x%x\n" : "%s = %u\n",
                                   numbers[i].key, get(b, i));
    }
    return g_string_free(text, FALSE);
}

static bool G_GNUC_PRINTF(2, 3) invalid(GError **error, const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list args;

    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "no baseline: %s", why);
    return false;
}

static bool
parse_number(const char *text, bool hex, uint64_t least, uint64_t most, uint32_t *ret_value)
{
    bool prefix = hex && g_str_has_prefix(text, "0x");
    guint64 value;

    if (!g_ascii_string_to_unsigned(prefix ? text + 2 : text, prefix ? 16 : 10, least, most, &value,
                                    NULL))
        return false;
    *ret_value = (uint32_t) value;
    return true;
}

static bool
take_features(struct vdt_baseline *b, GKeyFile *file, GError **error)
{
    g_autofree char *text = g_key_file_get_string(file, GROUP, "features", NULL);

    if (!text)
        return invalid(error, "it lacks the line 'features = ...'");
    g_auto(GStrv) words = g_strsplit_set(text, " \t", -1);
    for (unsigned i = 0; words[i]; i++) {
        int bit = words[i][0] ? vdt_feature_from_name(VIRTIO_ID_NET, words[i]) : -2;

        if (bit == -1)
            return invalid(error, "there is no feature '%s'", words[i]);
        if (bit >= 0)
            b->features |= VDT_BIT(bit);
    }
    uint64_t alone = b->features & ~vdt_net_features_sound(b->features);
    if (alone) {
        g_autofree char *names = vdt_features_to_string(VIRTIO_ID_NET, alone);
        return invalid(error, "what these features build on is not among the features: %s", names);
    }
    if (!(b->features & VDT_BIT(VIRTIO_F_VERSION_1)))
        return invalid(error, "VERSION_1 is not among the features");
    return true;
}

static bool
take_numbers(struct vdt_baseline *b, GKeyFile *file, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autofree char *text = g_key_file_get_string(file, GROUP, numbers[i].key, NULL);
        uint32_t value;

        if (!is_there(i, b->features)) {
            if (text)
                return invalid(error, "it has '%s' without a feature for it", numbers[i].key);
            continue;
        }
        if (!text)
            return invalid(error, "it lacks the line '%s = ...'", numbers[i].key);
        if (!parse_number(text, numbers[i].hex, numbers[i].least, numbers[i].most, &value))
            return invalid(error, "%s = %.40s: a number from %u to %u is wanted", numbers[i].key,
                           text, numbers[i].least, numbers[i].most);
        set(b, i, value);
    }
    if (b->pairs > 1 && !(b->features & (BIT(MQ) | BIT(RSS))))
        return invalid(error, "%u pairs want MQ or RSS among the features", b->pairs);
    if (b->features & BIT(RSS) && (!b->rss_key_max || !b->rss_table_max))
        return invalid(error, "RSS wants a key and a table");
    return true;
}

/* A word that is not understood would be a limit that is not kept. */
static bool
check_words(GKeyFile *file, GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    g_auto(GStrv) keys = g_key_file_get_keys(file, GROUP, NULL, NULL);
    g_autofree char *type = g_key_file_get_string(file, GROUP, "type", NULL);
    g_autofree char *format = g_key_file_get_string(file, GROUP, "format", NULL);
    uint32_t number;

    if (!keys || g_strv_length(groups) != 1)
        return invalid(error, "it has to consist of one group, [" GROUP "]");
    if (!format || !parse_number(format, false, 1, FORMAT, &number))
        return invalid(error, "format %.40s is not known here, %u is", format ? format : "none",
                       FORMAT);
    if (g_strcmp0(type, "net") != 0)
        return invalid(error, "type %.40s is not known here, net is", type ? type : "none");
    for (unsigned i = 0; keys[i]; i++) {
        bool known = g_str_equal(keys[i], "format") || g_str_equal(keys[i], "type") ||
                     g_str_equal(keys[i], "features");

        for (unsigned n = 0; !known && n < G_N_ELEMENTS(numbers); n++)
            known = g_str_equal(keys[i], numbers[n].key);
        if (!known)
            return invalid(error, "the word '%.40s' is not known here", keys[i]);
    }
    return true;
}

bool
vdt_baseline_from_text(struct vdt_baseline *baseline, const char *text, size_t len, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) why = NULL;
    struct vdt_baseline b = {0};

    if (len > BYTES_MAX)
        return invalid(error, "it is longer than %u bytes", BYTES_MAX);
    if (memchr(text, 0, len) || !g_utf8_validate_len(text, len, NULL))
        return invalid(error, "it is no text");
    if (!g_key_file_load_from_data(file, text, len, G_KEY_FILE_NONE, &why))
        return invalid(error, "%s", why->message);
    if (!check_words(file, error) || !take_features(&b, file, error) ||
        !take_numbers(&b, file, error))
        return false;
    *baseline = b;
    return true;
}

/* The text of a regular file, or NULL with errno. One byte more than may be, so that it shows. */
static char *
read_text(const char *path, size_t *ret_len)
{
    /* Opening a FIFO or a node must not wait before we have seen what it is. */
    VDT_AUTO_FD fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    g_autofree char *text = NULL;
    struct stat st;
    size_t len = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return NULL;
    }
    text = g_malloc(BYTES_MAX + 1);
    while (len <= BYTES_MAX) {
        ssize_t n = read(fd, text + len, BYTES_MAX + 1 - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return NULL;
        if (n == 0)
            break;
        len += (size_t) n;
    }
    *ret_len = len;
    return g_steal_pointer(&text);
}

bool
vdt_baseline_load(struct vdt_baseline *baseline, const char *path, GError **error)
{
    size_t len = 0;
    g_autofree char *text = read_text(path, &len);

    if (!text) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot read the baseline %s: %s", path,
                    errno == EINVAL ? "it is no regular file" : g_strerror(errno));
        return false;
    }
    if (vdt_baseline_from_text(baseline, text, len, error))
        return true;
    g_prefix_error(error, "%s: ", path);
    return false;
}

/* Comments and empty lines, then the group. */
bool
vdt_baseline_is_file(const char *path)
{
    size_t len = 0, at = 0;
    g_autofree char *text = read_text(path, &len);

    while (text && at < len) {
        const char *end = memchr(text + at, '\n', len - at);

        if (text[at] != '#' && text[at] != '\n' && text[at] != '\r')
            return len - at > strlen("[" GROUP "]") &&
                   memcmp(text + at, "[" GROUP "]", strlen("[" GROUP "]")) == 0;
        if (!end)
            return false;
        at = (size_t) (end - text) + 1;
    }
    return false;
}
