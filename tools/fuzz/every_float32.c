/* Whether the text of every float32 is what it promises: `every_float32 [FIRST [STEP]]` tries the patterns FIRST,
 * FIRST + STEP, … of the 2^32; `make every-float32` tries all (20 minutes on one core).
 *
 * A text has to read back as the same number both by strtof and by strtod and a rounding; no text that is a digit shorter
 * may do so; a negative number's is a minus and that of its absolute value. NaN is `nan`, an infinite number has none. */

#include "../../streamlstm/store/resp/_shortest.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t bits_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    return bits;
}

static int survives(const char *text, uint32_t bits) {
    return bits_of(strtof(text, NULL)) == bits && bits_of((float)strtod(text, NULL)) == bits;
}

enum { MOST_EXPONENT = 60 };
static double powers_of_ten[2 * MOST_EXPONENT + 1];

/* Whether a text with one significant digit less than a finite, positive number's would do as well. */
static int shorter_does(uint32_t bits) {
    int exponent;
    uint32_t digits = shortest_digits(bits, &exponent);
    while (digits % 10 == 0) digits /= 10, exponent++;
    float number;
    memcpy(&number, &bits, 4);
    double unit = powers_of_ten[exponent + 1 + MOST_EXPONENT], next = nextafterf(number, INFINITY) - (double)number;
    for (uint32_t up = 0; up < 2 && digits >= 10; up++) {
        /* What lies further off than the next float32 is not read as this one; a double is exact enough to tell. */
        if (fabs((digits / 10 + up) * unit - number) > next) continue;
        char text[32];
        snprintf(text, sizeof text, "%" PRIu32 "e%d", digits / 10 + up, exponent + 1);
        if (survives(text, bits)) return 1;
    }
    return 0;
}

static const char *fault_of(uint32_t bits, char text[32]) {
    float number;
    memcpy(&number, &bits, 4);
    char *end = write_shortest(text, number);
    uint32_t positive = bits & 0x7fffffff;
    if (!end) return positive == 0x7f800000 ? NULL : "it has no text";
    *end = 0;
    if (positive == 0x7f800000) return "an infinite number has a text";
    if (positive > 0x7f800000) return strcmp(text, "nan") ? "NaN is written otherwise" : NULL;
    if (end - text >= SHORTEST_MAX) return "its text is too long"; /* a comma follows */
    if (bits != positive) {
        char other[32];
        memcpy(&number, &positive, 4);
        *write_shortest(other, number) = 0;
        return *text == '-' && strcmp(text + 1, other) == 0 ? NULL : "it is not its absolute value's behind a minus";
    }
    if (!survives(text, bits)) return "its text is another number";
    return bits && shorter_does(bits) ? "a shorter text would do" : NULL;
}

int main(int count, char **arguments) {
    uint64_t first = count > 1 ? strtoull(arguments[1], NULL, 0) : 0;
    uint64_t step = count > 2 ? strtoull(arguments[2], NULL, 0) : 1;
    uint64_t tried = 0, wrong = 0;
    if (!step) return 2;
    fill_powers();
    for (int power = -MOST_EXPONENT; power <= MOST_EXPONENT; power++)
        powers_of_ten[power + MOST_EXPONENT] = pow(10.0, power);
    for (uint64_t bits = first; bits < 1ULL << 32; bits += step, tried++) {
        char text[32];
        const char *fault = fault_of((uint32_t)bits, text);
        if (!fault) continue;
        printf("0x%08" PRIx64 ": %s (%s)\n", bits, fault, text);
        if (++wrong == 20) break;
    }
    printf("%" PRIu64 " patterns, %" PRIu64 " wrong\n", tried, wrong);
    return wrong != 0;
}
