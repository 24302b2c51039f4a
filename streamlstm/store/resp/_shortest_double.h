/* The shortest decimal text that parses back to the same double, written as those of float32 are; what JSON writers make of
 * one, too. The digits are those of Python's `repr`: only models that carry numbers exactly write doubles. */

#pragma once

#include <Python.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "_shortest.h"

enum { SHORTEST_DOUBLE_MAX = 26 /* bytes: -1.2345678901234567e-300 and a comma, and some */ };

/* Write a number; returns the end, NULL for an infinite one, or with an exception if memory is short. */
static char *write_shortest_double(char *to, double number) {
    if (isinf(number)) return NULL;
    if (isnan(number)) {
        memcpy(to, "nan", 3);
        return to + 3;
    }
    char *text = PyOS_double_to_string(number, 'r', 0, 0, NULL);
    if (!text) return NULL;
    const char *at = text;
    if (*at == '-') *to++ = *at++;
    char digits[20];
    int count = 0, point = 0, is_fraction = 0;
    for (; (*at >= '0' && *at <= '9') || *at == '.'; at++) {
        if (*at == '.') {
            is_fraction = 1;
            continue;
        }
        if (count || *at != '0')
            digits[count++] = *at, point += !is_fraction;
        else
            point -= is_fraction;
    }
    if (*at == 'e') point += atoi(at + 1);
    PyMem_Free(text);
    while (count && digits[count - 1] == '0') count--;
    if (count) return write_digits(to, digits, count, point, 16, -5);
    *to++ = '0';
    return to;
}
