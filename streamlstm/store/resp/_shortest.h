/* The shortest decimal text that parses back to the same float32, by whoever reads it as one and by whoever reads a
 * double first and rounds that, as Python and JavaScript do.
 *
 * The digits come from Schubfach (R. Giulietti, "The Schubfach way to render doubles", 2020), here for float32: the
 * bounds of the interval that rounds to a number are scaled by a power of ten and rounded to odd, so that comparing
 * them with whole numbers decides as the exact bounds would. Of all 2^32 patterns one needs a digit more to survive both
 * readings (tools/fuzz/every_float32.c tries them all). Exponents are written as JSON writers do it: `1.5`,
 * `0.000015`, `1.5e-7`, `1.5e13`; a whole number has no point. */

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FIRST_POWER = -31, LAST_POWER = 45, SHORTEST_MAX = 18 /* bytes: -0.00000123456789 and a comma */ };
enum { MOST_DIGITS = 9 }; /* of a float32: less than ten times 2^24, see `shortest_digits` */

/* 7.0385307e-26: the double nearest to its shortest text, 7.038531e-26, is the very middle between it and the float32 above,
 * and would be rounded to that one. */
enum { ROUNDED_TWICE = 0x15ae43fd, ROUNDED_TWICE_DIGITS = 70385307, ROUNDED_TWICE_EXPONENT = -33 };

/* 10^e for every e that is needed, as 64 bits rounded up whose highest one is set. */
static uint64_t ten_to[LAST_POWER - FIRST_POWER + 1];

/* The highest 64 bits of a number of three words, the lowest first, rounded up. */
static uint64_t highest_bits(const uint64_t words[3]) {
    int top = 2;
    while (words[top] == 0) top--;
    int shift = 0;
    while (!(words[top] >> (63 - shift) & 1)) shift++;
    uint64_t below = top > 0 ? words[top - 1] : 0, bits = words[top] << shift;
    if (shift) bits |= below >> (64 - shift);
    uint64_t rest = (below << shift) | (top > 1 ? words[top - 2] : 0);
    return bits + (rest != 0);
}

/* Fill the table by multiplying 1, and dividing 2^191, by ten: floors of floors are exact. */
static void fill_powers(void) {
    uint64_t up[3] = {1, 0, 0}, down[3] = {0, 0, 1ULL << 63};
    for (int e = 0; e <= LAST_POWER; e++) {
        ten_to[e - FIRST_POWER] = highest_bits(up);
        unsigned __int128 carry = 0;
        for (int i = 0; i < 3; i++) {
            carry += (unsigned __int128)up[i] * 10;
            up[i] = (uint64_t)carry, carry >>= 64;
        }
    }
    for (int e = -1; e >= FIRST_POWER; e--) {
        unsigned __int128 rest = 0;
        for (int i = 2; i >= 0; i--) {
            rest = rest << 64 | down[i];
            down[i] = (uint64_t)(rest / 10), rest %= 10;
        }
        ten_to[e - FIRST_POWER] = highest_bits(down);
    }
}

static uint32_t scaled_to_odd(uint64_t power, uint32_t bound) {
    uint64_t product = (uint64_t)(((unsigned __int128)power * bound) >> 32);
    return (uint32_t)(product >> 32) | ((uint32_t)product > 1);
}

/* digits * 10^exponent is the shortest, and of the shortest the nearest; `bits` are those of a finite number > 0. */
static inline uint32_t shortest_digits(uint32_t bits, int *exponent) {
    if (bits == ROUNDED_TWICE) {
        *exponent = ROUNDED_TWICE_EXPONENT;
        return ROUNDED_TWICE_DIGITS;
    }
    uint32_t fraction = bits & 0x7fffff, biased = bits >> 23;
    uint32_t c = biased ? fraction | 0x800000 : fraction;
    int q = (biased ? (int)biased : 1) - 150;
    uint32_t odd = c & 1;                          /* the bounds themselves round to an even number only */
    int closer = fraction == 0 && biased > 1;      /* the number below is half as far away */
    int k = (q * 1262611 - (closer ? 524031 : 0)) >> 22; /* floor(log10(2^q)), of three quarters of it if closer */
    int h = q + ((-k * 1741647) >> 19) + 1;        /* floor(log2(10^-k)) */
    uint64_t power = ten_to[-k - FIRST_POWER];
    uint32_t low = scaled_to_odd(power, (4 * c - 2 + (uint32_t)closer) << h) + odd;
    uint32_t value = scaled_to_odd(power, 4 * c << h);
    uint32_t high = scaled_to_odd(power, (4 * c + 2) << h) - odd;
    uint32_t digits = value / 4;
    *exponent = k;
    if (digits >= 10) {
        uint32_t tens = digits / 10;
        int down = low <= 40 * tens, up = 40 * tens + 40 <= high;
        if (down != up) {
            *exponent = k + 1;
            return tens + (uint32_t)up;
        }
    }
    int down = low <= 4 * digits, up = 4 * digits + 4 <= high;
    if (down != up) return digits + (uint32_t)up;
    uint32_t middle = 4 * digits + 2;
    return digits + (value > middle || (value == middle && (digits & 1)));
}

static inline char *write_exponent(char *to, int exponent) {
    *to++ = 'e';
    if (exponent < 0) *to++ = '-', exponent = -exponent;
    if (exponent >= 100) *to++ = (char)('0' + exponent / 100);
    if (exponent >= 10) *to++ = (char)('0' + exponent / 10 % 10);
    *to++ = (char)('0' + exponent % 10);
    return to;
}

/* Write digits of which so many stand before the point; with an exponent where those are more than `most`, or `least` and
 * less. */
static inline char *write_digits(char *to, const char *first, int count, int point, int most, int least) {
    if (point > most || point <= least) {
        *to++ = *first;
        if (count > 1) *to++ = '.';
        memcpy(to, first + 1, (size_t)count - 1);
        return write_exponent(to + count - 1, point - 1);
    }
    if (point <= 0) {
        memcpy(to, "0.00000", (size_t)(2 - point));
        memcpy(to += 2 - point, first, (size_t)count);
        return to + count;
    }
    if (point >= count) {
        memcpy(to, first, (size_t)count);
        memset(to + count, '0', (size_t)(point - count));
        return to + point;
    }
    memcpy(to, first, (size_t)point);
    to[point] = '.';
    memcpy(to + point + 1, first + point, (size_t)(count - point));
    return to + count + 1;
}

/* Two digits each, in the order of their value. */
static const char TWO_DIGITS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657"
    "585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* Write the digits of a number > 0 before `end`; returns where they begin. */
static inline char *write_before(char *end, uint32_t number) {
    for (; number >= 100; number /= 100) memcpy(end -= 2, TWO_DIGITS + 2 * (number % 100), 2);
    if (number >= 10) return memcpy(end - 2, TWO_DIGITS + 2 * number, 2);
    *--end = (char)('0' + number);
    return end;
}

/* Write a number; returns the end, NULL for an infinite one. Room for SHORTEST_MAX bytes is needed. Inlined into its caller's
 * loop it takes a fifth longer. */
static __attribute__((noinline)) char *write_shortest(char *to, float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    if ((bits & 0x7f800000) == 0x7f800000) {
        if (!(bits & 0x7fffff)) return NULL;
        memcpy(to, "nan", 3);
        return to + 3;
    }
    if (bits >> 31) *to++ = '-', bits &= 0x7fffffff;
    if (bits == 0) {
        *to++ = '0';
        return to;
    }
    int exponent;
    uint32_t digits = shortest_digits(bits, &exponent);
    while (digits % 10 == 0) digits /= 10, exponent++;
    char text[MOST_DIGITS + 8] = {0}, *end = text + MOST_DIGITS, *first = write_before(end, digits);
    int count = (int)(end - first), point = count + exponent;
    if (point <= 0 || point >= count) return write_digits(to, first, count, point, 13, -6);
    /* A point among the digits, as nearly every number has it: at most eight are on either side, and to copy always as many
     * takes no time. There is room for them. */
    memcpy(to, first, 8);
    to[point] = '.';
    memcpy(to + point + 1, first + point, 8);
    return to + count + 1;
}
