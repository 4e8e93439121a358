/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz: what the targets share. A target is one function that takes bytes and states properties;
 * libFuzzer calls it (meson option fuzz), or replay.c with the files of its corpus.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property; ends the process like a crash does. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What is left of an input; past its end there are zeros. */
struct fuzz_input {
    const uint8_t *p;
    size_t left;
};

static inline uint64_t
fuzz_take(struct fuzz_input *input, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && input->left > 0; i++, input->p++, input->left--)
        value |= (uint64_t) *input->p << (8 * i);
    return value;
}

static inline uint8_t
fuzz_u8(struct fuzz_input *input)
{
    return (uint8_t) fuzz_take(input, 1);
}

static inline uint16_t
fuzz_u16(struct fuzz_input *input)
{
    return (uint16_t) fuzz_take(input, 2);
}

static inline uint32_t
fuzz_u32(struct fuzz_input *input)
{
    return (uint32_t) fuzz_take(input, 4);
}
