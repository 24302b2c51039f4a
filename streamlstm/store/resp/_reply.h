/* Replies of the Redis protocol (RESP2), read strictly: a length is written as Redis writes it, and what follows a text is
 * the end of its line. Whatever is not so is no reply, and nothing that comes after it is read. */

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MOST_ELEMENTS 4294967295 /* in one array, as hiredis has it: 2^32 - 1 */

typedef struct {
    const char *data;
    ptrdiff_t size, at;
} Cursor;

static inline int is_digit(char byte) { return (unsigned char)(byte - '0') <= 9; }

static inline int is_line_end(const char *at) { return at[0] == '\r' && at[1] == '\n'; }

/* The number of a line `<kind><number>\r\n`: whole, without a sign or zeros before it; or -1, which stands for nothing.
 * 0 is success. */
static inline int read_head(Cursor *cursor, char kind, int64_t *number) {
    const char *at = cursor->data + cursor->at, *end = cursor->data + cursor->size, *first = at + 1;
    if (end - at < 4 || *at != kind) return -1;
    uint64_t found = 0;
    if (*first == '0') {
        at += 2;
    } else if (is_digit(*first)) {
        for (at = first; at < end && is_digit(*at); at++) found = 10 * found + (uint64_t)(*at - '0');
        if (at - first > 18) return -1;
    } else {
        if (*first != '-' || first[1] != '1') return -1;
        found = UINT64_MAX, at += 3;
    }
    if (end - at < 2 || !is_line_end(at)) return -1;
    cursor->at = at + 2 - cursor->data;
    *number = (int64_t)found;
    return 0;
}

/* How many elements an array has; none for nil. */
static inline int read_array(Cursor *cursor, int64_t *length) {
    if (read_head(cursor, '*', length) < 0) return -1;
    if (*length < 0) *length = 0;
    return *length > cursor->size - cursor->at ? -1 : 0; /* an element takes more than a byte */
}

/* Read a head `$<length>\r\n` of one or two digits, as nearly every text has it; 0 if this is another one. */
static inline int read_short_head(Cursor *cursor, int64_t *length) {
    const char *at = cursor->data + cursor->at;
    if (cursor->size - cursor->at < 6 || *at != '$') return 0;
    unsigned first = (unsigned)(at[1] - '0'), second = (unsigned)(at[2] - '0');
    if (first - 1 > 8) return 0;
    if (is_line_end(at + 2)) {
        cursor->at += 4, *length = first;
        return 1;
    }
    if (second > 9 || !is_line_end(at + 3)) return 0;
    cursor->at += 5, *length = 10 * first + second;
    return 1;
}

/* Where a text begins and how long it is. */
static inline int read_bulk(Cursor *cursor, int64_t *at, int64_t *length) {
    if (!read_short_head(cursor, length) && read_head(cursor, '$', length) < 0) return -1;
    if (*length < 0 || *length > cursor->size - cursor->at - 2 || !is_line_end(cursor->data + cursor->at + *length))
        return -1;
    *at = cursor->at;
    cursor->at += *length + 2;
    return 0;
}

/* Whether a whole number with or without a sign is all there is. */
static inline int is_integer(const char *text, ptrdiff_t length) {
    ptrdiff_t at = length && (text[0] == '-' || text[0] == '+');
    if (at == length || length - at > 19) return 0;
    for (; at < length; at++)
        if (!is_digit(text[at])) return 0;
    return 1;
}

/* Where the line at the cursor ends: 0 if it does, 1 if it is not all there, -1 if it ends as no line does. */
static inline int find_line_end(const Cursor *cursor, ptrdiff_t *found) {
    ptrdiff_t at = cursor->at;
    while (at < cursor->size && cursor->data[at] != '\r' && cursor->data[at] != '\n') at++;
    *found = at;
    if (at == cursor->size || (cursor->data[at] == '\r' && at + 1 == cursor->size)) return 1;
    return is_line_end(cursor->data + at) ? 0 : -1;
}

/* Go over one element that begins at the cursor; `more` are the elements it has. 1 if it is not all there, -1 if it is
 * none. */
static inline int skip_element(Cursor *cursor, int64_t *more) {
    const char kind = cursor->data[cursor->at];
    ptrdiff_t end;
    int64_t number;
    *more = 0;
    if (kind != '$' && kind != '*') {
        int unended = kind == '+' || kind == '-' || kind == ':' ? find_line_end(cursor, &end) : -1;
        if (unended) return unended;
        if (kind == ':' && !is_integer(cursor->data + cursor->at + 1, end - cursor->at - 1)) return -1;
        cursor->at = end + 2;
        return 0;
    }
    Cursor behind = *cursor;
    if (read_head(&behind, kind, &number) < 0) return find_line_end(cursor, &end) == 1 ? 1 : -1;
    if (kind == '*') {
        if (number > MOST_ELEMENTS) return -1;
        *more = number > 0 ? number : 0;
    } else if (number >= 0) {
        if (number > behind.size - behind.at - 2) return 1;
        if (!is_line_end(behind.data + behind.at + number)) return -1;
        behind.at += number + 2;
    }
    *cursor = behind;
    return 0;
}

/* Go over a short text that is all there, as nearly every element is; 0, and nothing is gone over, if this is another. */
static inline int skip_short_text(Cursor *cursor) {
    Cursor behind = *cursor;
    int64_t length;
    if (!read_short_head(&behind, &length) || length > behind.size - behind.at - 2 ||
        !is_line_end(behind.data + behind.at + length))
        return 0;
    cursor->at = behind.at + (ptrdiff_t)length + 2;
    return 1;
}

/* Go over whole elements until none is left or the next is not all there; -1 if it is not a reply. */
static inline int skip_elements(Cursor *cursor, int64_t *left) {
    while (*left > 0 && cursor->at < cursor->size) {
        if (skip_short_text(cursor)) {
            --*left;
            continue;
        }
        int64_t more;
        int short_of = skip_element(cursor, &more);
        if (short_of) return short_of < 0 ? -1 : 0;
        if (__builtin_add_overflow(*left - 1, more, left)) return -1; /* nested: more than there is memory for */
    }
    return 0;
}
