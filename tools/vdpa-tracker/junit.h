/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JUnit: a list of test cases as the XML that CI systems read (Jenkins, GitLab and others).
 */
#pragma once

#include "tools/vdpa-tracker/case_list.h"

/* To the list's path, by a rename. A case that runs is an error, as the file stays if nobody comes
 * to write it again; one that is planned is skipped. */
bool vdt_junit_write(const struct vdt_case_list *list, GError **error);

/* @text with what XML 1.0 has no place for, even escaped, replaced. Caller frees. */
char *vdt_junit_text(const char *text);
