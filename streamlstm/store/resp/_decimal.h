/* Decimal numbers as text, as `float` reads them. */

#pragma once

#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FLOAT32_LIMIT 0x1.ffffffp+127 /* 2^128 - 2^103: what is smaller rounds to a finite float32 */

/* What is written of an exponent counts up to here: far beyond any text's length, so that no number of digits after the
 * point makes up for what is cut. */
#define MOST_EXPONENT 100000000000000000 /* 10^17 */

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* A number of at most 18 characters without an exponent, whose digits are exact as a double; 0 if this is another text. */
static inline int read_short_decimal(const char *text, int64_t length, double *number) {
    if (length > 18) return 0;
    const char *at = text, *end = text + length;
    int negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    const char *first = at;
    uint64_t mantissa = 0;
    ptrdiff_t digits, fraction = 0;
    for (; at < end && (unsigned char)(*at - '0') <= 9; at++) mantissa = 10 * mantissa + (uint64_t)(*at - '0');
    digits = at - first;
    if (at < end && *at == '.') {
        for (first = ++at; at < end && (unsigned char)(*at - '0') <= 9; at++)
            mantissa = 10 * mantissa + (uint64_t)(*at - '0');
        fraction = at - first;
    }
    if (at != end || digits + fraction == 0 || mantissa >= 1ULL << 53) return 0;
    /* Mantissa and power are exact doubles, so one operation rounds once (Clinger 1990). */
    double value = (double)mantissa / POWERS[fraction];
    *number = negative ? -value : value;
    return 1;
}

/* One decimal number that is all of text[0:length]; 1 if it is one within float32's range, 0 if not, -1 on error. */
static inline int read_decimal(const char *text, int64_t length, double *number) {
    if (read_short_decimal(text, length, number)) return 1;
    const char *at = text, *end = text + length;
    int negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    uint64_t mantissa = 0;
    int digits = 0;
    int64_t significant = 0, exponent = 0; /* either may be as large as the text is long */
    for (int fraction = 0; at < end; at++) {
        if (*at == '.' && !fraction) {
            fraction = 1;
            continue;
        }
        if (*at < '0' || *at > '9') break;
        digits = 1;
        if (significant < 19) {
            mantissa = 10 * mantissa + (uint64_t)(*at - '0');
            significant += mantissa != 0;
            exponent -= fraction;
        } else {
            significant++; /* too many for the short way */
        }
    }
    if (!digits) return 0;
    if (at < end && (*at == 'e' || *at == 'E')) {
        int minus = ++at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+')) at++;
        const char *first = at;
        int64_t written = 0;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (written < MOST_EXPONENT) written = 10 * written + (*at - '0');
        if (at == first) return 0;
        exponent += minus ? -written : written;
    }
    if (at != end) return 0;
    double value;
    if (significant <= 19 && mantissa < (1ULL << 53) && exponent >= -22 && exponent <= 22) {
        value = exponent < 0 ? (double)mantissa / POWERS[-exponent] : (double)mantissa * POWERS[exponent];
        if (negative) value = -value;
    } else {
        char short_copy[128], *copy = length < 128 ? short_copy : PyMem_RawMalloc((size_t)length + 1);
        if (!copy) return PyErr_NoMemory(), -1;
        memcpy(copy, text, (size_t)length);
        copy[length] = 0;
        value = PyOS_string_to_double(copy, NULL, NULL); /* overflow gives infinity */
        if (copy != short_copy) PyMem_RawFree(copy);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
    }
    if (!(fabs(value) < FLOAT32_LIMIT)) return 0;
    *number = value;
    return 1;
}
