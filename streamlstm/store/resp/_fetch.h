/* Rows lie anywhere in more memory than a cache holds: that of a series some steps ahead is asked for beforehand. */

#include <stddef.h>

enum { AHEAD = 4, LINE = 64 };

static inline void fetch_row(const char *row, ptrdiff_t size) {
    for (ptrdiff_t at = 0; at < size; at += LINE) __builtin_prefetch(row + at, 1);
}
