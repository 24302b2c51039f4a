/* Compiled parts of stepping a batch: see streamlstm/engine/stepping.py for what that is, streamlstm/engine/kernels_python.py for what
 * each function does.
 *
 * Arrays come in through the buffer protocol (_arrays.h), so that no header but Python's is needed. Sums are float64, one value
 * after the other; built without contraction of multiply and add, so that they are the bits of the twin in Python. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../store/resp/_arrays.h"
#include "../store/resp/_fetch.h"

/* Offsets into a record's row: see streamlstm/store/record/layout.py. */
enum { REJECTED_AT = 7, TIME_AT = 16, STEPS_AT = 24, SCORED_AT = 32, SUMS_AT = 40, HEADER_SIZE = 72 };
enum { ABSOLUTE, SQUARED, NAIVE_ABSOLUTE, NAIVE_SQUARED, SUMS };

/* Columns of a stream's tally: see streamlstm/engine/scoring.py. */
enum { TALLY_SCORED, TALLY_ABSOLUTE, TALLY_NAIVE, TALLY_SCALED, TALLY_COVERED, TALLY_GIVEN, TALLY_BUCKETS };

/* What is kept of a series to calibrate its intervals and scores: see streamlstm/store/record/conformal.py. */
enum { TAILS = 9, LABELLED = 1, BEGINS = 2, EXTRAS = 3 };
static const double LEAST_TAIL = 1e-9;
typedef struct {
    double seen, scale, low, high, covered, tails[TAILS];
} Calibration;
typedef struct {
    double least_seen, scale_weight, out, in, tails[TAILS], up[TAILS], down[TAILS];
} Constants;

_Static_assert(sizeof(Calibration) == 112, "as it stands in a row");

/* ------------------------------------------------------------------------------------------------- laying out */

/* What is said of an item: see streamlstm/engine/kernels_python.py. */
enum { RESET = 1, MISSING = 2, GAP = 4, SKIPPED = 8 };
enum { FRESH = 1, LAST = 2 }; /* of a chain */

/* The items of a series. */
typedef struct {
    int64_t slot, count; /* how many are stepped */
    int64_t place, filled; /* of its items among all those laid out, and how many have been put there */
    int64_t era;           /* how often all series had been reset when it was looked at last */
    int32_t stream, chain, segment, level;
    uint8_t plain, is_reset;
} Group;

/* A run of a series' items that is stepped in one go. */
typedef struct {
    int64_t place, count;
    int32_t chain, level, number;
} Segment;

typedef struct {
    int64_t group;
    int64_t flags;
} Chain;

typedef struct {
    Py_ssize_t items, groups, segments, chains;
    const int64_t *slots;
    const uint8_t *marks;
    Group *group;
    int32_t *group_of, *rank;
    Segment *segment;
    Chain *chain;
} Plan;

static int has(const Plan *plan, Py_ssize_t item, int mark) { return plan->marks && plan->marks[item] & mark; }

/* Find the groups of items with the same slot; `group_of` gets each item's, `scratch` is -1 for their slots afterwards.
 *
 * What a slot's scratch holds is believed only if it is a group's number and that group is the slot's (Briggs and Torczon,
 * "An efficient representation for sparse sets", 1993), so that nothing is written outside, whatever it was before. */
static int find_groups(Plan *plan, int32_t *scratch, const int64_t *offsets) {
    int32_t stream = 0;
    int64_t era = 0, first_era = 0;
    int good = 1;
    for (Py_ssize_t i = 0; i < plan->items; i++) {
        while (i >= offsets[stream + 1]) stream++, first_era = era;
        plan->group_of[i] = -1;
        int64_t slot = plan->slots[i];
        if (slot < 0) {
            era += has(plan, i, RESET);
            continue;
        }
        int32_t number = scratch[slot];
        if (number < 0 || number >= plan->groups || plan->group[number].slot != slot) {
            number = scratch[slot] = (int32_t)plan->groups++;
            plan->group[number] =
                (Group){.slot = slot, .stream = stream, .era = first_era, .chain = -1, .plain = 1};
        }
        Group *group = &plan->group[number];
        if (group->stream != stream) good = 0;
        if (has(plan, i, RESET | MISSING | GAP) || era != first_era) group->plain = 0;
        group->count += !has(plan, i, RESET | SKIPPED);
        plan->group_of[i] = number;
    }
    for (Py_ssize_t number = 0; number < plan->groups; number++) scratch[plan->group[number].slot] = -1;
    return good ? 0 : wrong("a slot is of two streams");
}

/* A group that all series were reset after is not plain either. */
static void find_resets_behind(Plan *plan, const int64_t *offsets, Py_ssize_t streams) {
    Py_ssize_t number = plan->groups;
    for (Py_ssize_t stream = streams - 1; stream >= 0 && plan->marks; stream--) {
        int has_any = 0;
        for (Py_ssize_t i = offsets[stream]; !has_any && i < offsets[stream + 1]; i++)
            has_any = plan->slots[i] < 0 && has(plan, i, RESET);
        for (; number > 0 && plan->group[number - 1].stream == stream; number--)
            if (has_any) plan->group[number - 1].plain = 0;
    }
}

/* Number the plain groups by length, the longest first, those of a length in order of arrival; -1 for the others, and for
 * those without a step. */
static Py_ssize_t rank_groups(const Plan *plan) {
    int64_t longest = 0;
    Py_ssize_t ranked = 0;
    for (Py_ssize_t i = 0; i < plan->groups; i++)
        if (plan->group[i].plain && plan->group[i].count > longest) longest = plan->group[i].count;
    int32_t *begin = PyMem_RawCalloc((size_t)longest + 2, sizeof *begin);
    if (!begin) return PyErr_NoMemory(), -1;
    for (Py_ssize_t i = 0; i < plan->groups; i++) {
        plan->rank[i] = plan->group[i].plain && plan->group[i].count ? 0 : -1;
        if (!plan->rank[i]) begin[longest - plan->group[i].count + 1]++, ranked++;
    }
    for (int64_t length = 0; length < longest; length++) begin[length + 1] += begin[length];
    for (Py_ssize_t i = 0; i < plan->groups; i++)
        if (!plan->rank[i]) plan->rank[i] = begin[longest - plan->group[i].count]++;
    PyMem_RawFree(begin);
    return ranked;
}

static PyObject *new_ints(Py_ssize_t count, int64_t **numbers) {
    PyObject *made = PyByteArray_FromStringAndSize(NULL, 8 * count);
    if (made) *numbers = (int64_t *)PyByteArray_AS_STRING(made);
    return made;
}

/* So many arrays of int64, of these lengths; 0, or -1 with an exception. */
static int new_columns(PyObject **made, int64_t **column, const Py_ssize_t *lengths, int count) {
    for (int i = 0; i < count; i++)
        if (!(made[i] = new_ints(lengths[i], &column[i]))) {
            for (int j = 0; j < i; j++) Py_CLEAR(made[j]);
            return -1;
        }
    return 0;
}

/* (items, place, count, slot, stream): the plain groups by rank. Items stand in the order of their group, then of arrival;
 * behind those of the plain groups is room for the others', whose groups get their places. */
static int lay_out_plain(const Plan *plan, Py_ssize_t ranked, PyObject **made, int64_t **column) {
    int64_t total = 0, place = 0;
    for (Py_ssize_t i = 0; i < plan->groups; i++) total += plan->group[i].count;
    if (new_columns(made, column, (Py_ssize_t[]){total, ranked, ranked, ranked, ranked}, 5) < 0) return -1;
    for (Py_ssize_t i = 0; i < plan->groups; i++) {
        int32_t at = plan->rank[i];
        if (at >= 0)
            column[2][at] = plan->group[i].count, column[3][at] = plan->group[i].slot, column[4][at] = plan->group[i].stream;
    }
    for (Py_ssize_t i = 0; i < ranked; i++) column[1][i] = place, place += column[2][i];
    for (Py_ssize_t i = 0; i < plan->groups; i++)
        if (plan->rank[i] >= 0)
            plan->group[i].place = column[1][plan->rank[i]];
        else
            plan->group[i].place = place, place += plan->group[i].count;
    return 0;
}

/* Put an item of a group that is not plain into its chain and segment. */
static void place_item(Plan *plan, Group *group, Py_ssize_t i, int64_t *items) {
    int begins = group->chain < 0 || group->is_reset;
    if (begins) {
        plan->chain[plan->chains] = (Chain){group - plan->group, group->is_reset ? FRESH : 0};
        group->chain = (int32_t)plan->chains++, group->level = -1, group->is_reset = 0;
    }
    if (begins || has(plan, i, MISSING | GAP)) {
        group->segment = (int32_t)plan->segments;
        plan->segment[plan->segments++] =
            (Segment){group->place + group->filled, 0, group->chain, ++group->level, group->segment};
    }
    plan->segment[group->segment].count++;
    items[group->place + group->filled++] = i;
}

/* Put all items in their places; what is not plain is cut into chains and segments. */
static void place_items(Plan *plan, const int64_t *offsets, Py_ssize_t streams, int64_t *items) {
    int64_t era = 0;
    Py_ssize_t looked = 0; /* groups of streams before */
    for (Py_ssize_t stream = 0; stream < streams; stream++) {
        for (Py_ssize_t i = offsets[stream]; i < offsets[stream + 1]; i++) {
            Group *group = plan->group_of[i] < 0 ? NULL : &plan->group[plan->group_of[i]];
            if (!group) {
                era += has(plan, i, RESET);
                continue;
            }
            if (group->era != era || has(plan, i, RESET)) group->is_reset = 1, group->era = era;
            if (has(plan, i, RESET | SKIPPED)) continue;
            if (group->plain)
                items[group->place + group->filled++] = i;
            else
                place_item(plan, group, i, items);
        }
        for (; looked < plan->groups && plan->group[looked].stream == stream; looked++) {
            Group *group = &plan->group[looked];
            if (group->era != era) group->is_reset = 1;
            if (group->chain >= 0 && !group->is_reset) plan->chain[group->chain].flags |= LAST;
        }
    }
}

/* By level, the longest first, those of a length in order of arrival. */
static int compare_segments(const void *one, const void *other) {
    const Segment *a = one, *b = other;
    if (a->level != b->level) return a->level < b->level ? -1 : 1;
    if (a->count != b->count) return a->count > b->count ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* (place, count, chain, level) of each segment; (slot, stream, flags) of each chain; (slot, stream) of series that were reset
 * last of all. */
static int lay_out_others(Plan *plan, PyObject **made) {
    int64_t *column[9];
    Py_ssize_t reset = 0, n = plan->segments, c = plan->chains;
    for (Py_ssize_t i = 0; i < plan->groups; i++) reset += plan->group[i].is_reset;
    if (new_columns(made, column, (Py_ssize_t[]){n, n, n, n, c, c, c, reset, reset}, 9) < 0) return -1;
    qsort(plan->segment, (size_t)n, sizeof *plan->segment, compare_segments);
    for (Py_ssize_t i = 0; i < n; i++) {
        const Segment *segment = &plan->segment[i];
        column[0][i] = segment->place, column[1][i] = segment->count;
        column[2][i] = segment->chain, column[3][i] = segment->level;
    }
    for (Py_ssize_t i = 0; i < c; i++) {
        const Group *group = &plan->group[plan->chain[i].group];
        column[4][i] = group->slot, column[5][i] = group->stream, column[6][i] = plan->chain[i].flags;
    }
    for (Py_ssize_t i = 0, at = 0; i < plan->groups; i++)
        if (plan->group[i].is_reset) column[7][at] = plan->group[i].slot, column[8][at++] = plan->group[i].stream;
    return 0;
}

/* The plan of items whose groups have been found. */
static PyObject *laid_out(Plan *plan, const int64_t *offsets, Py_ssize_t streams) {
    PyObject *made[14] = {0}, *result = NULL;
    int64_t *column[5];
    find_resets_behind(plan, offsets, streams);
    Py_ssize_t ranked = rank_groups(plan);
    if (ranked < 0 || lay_out_plain(plan, ranked, made, column) < 0) return NULL;
    place_items(plan, offsets, streams, column[0]);
    int count = plan->marks ? 14 : 5;
    if ((count == 5 || lay_out_others(plan, made + 5) == 0) && (result = PyTuple_New(count)))
        for (int i = 0; i < count; i++) PyTuple_SET_ITEM(result, i, made[i]);
    else
        for (int i = 0; i < 14; i++) Py_XDECREF(made[i]);
    return result;
}

/* 0 if all slots are those of rows, or below 0, as are those of items of no series. */
static int hold_slots(const int64_t *slots, Py_ssize_t count, Py_ssize_t rows) {
    for (Py_ssize_t i = 0; i < count; i++)
        if (slots[i] >= rows) return wrong("a slot lies beyond the rows");
    return 0;
}

/* 0 if offsets cut the items into streams. */
static int hold_offsets(const int64_t *offsets, Py_ssize_t streams, Py_ssize_t items) {
    int good = streams > 0 && offsets[0] == 0 && offsets[streams] == items;
    for (Py_ssize_t i = 0; good && i < streams; i++) good = offsets[i] <= offsets[i + 1];
    return good ? 0 : wrong("offsets and marks do not fit the items");
}

static PyObject *lay_out(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { SLOTS, MARKS, SCRATCH, OFFSETS, ARRAYS };
    static const Demand demands[ARRAYS] = {{"slots", INT64, 1, READ},
                                           {"marks", UINT8, 1, READ_IF_ANY},
                                           {"scratch", INT32, 1, WRITE},
                                           {"offsets", INT64, 1, READ}};
    Py_buffer b[ARRAYS];
    if (take_count("lay_out", given, ARRAYS) < 0 || take_arrays(args, demands, b, ARRAYS) < 0) return NULL;
    PyObject *result = NULL;
    Plan plan = {.items = count_of(&b[SLOTS]), .slots = b[SLOTS].buf, .marks = b[MARKS].buf};
    size_t most = (size_t)plan.items + 1, others = plan.marks ? most : 1;
    plan.group = PyMem_RawMalloc(most * sizeof *plan.group);
    int32_t *numbers = PyMem_RawMalloc(most * 2 * sizeof *numbers);
    plan.segment = PyMem_RawMalloc(others * sizeof *plan.segment);
    plan.chain = PyMem_RawMalloc(others * sizeof *plan.chain);
    Py_ssize_t streams = count_of(&b[OFFSETS]) - 1;
    if (!plan.group || !numbers || !plan.segment || !plan.chain) {
        PyErr_NoMemory();
    } else if (plan.items > INT32_MAX || (plan.marks && count_of(&b[MARKS]) != plan.items)) {
        wrong("offsets and marks do not fit the items");
    } else if (hold_offsets(b[OFFSETS].buf, streams, plan.items) == 0 &&
               hold_slots(plan.slots, plan.items, count_of(&b[SCRATCH])) == 0) {
        plan.group_of = numbers, plan.rank = numbers + plan.items;
        if (find_groups(&plan, b[SCRATCH].buf, b[OFFSETS].buf) == 0) result = laid_out(&plan, b[OFFSETS].buf, streams);
    }
    PyMem_RawFree(plan.group);
    PyMem_RawFree(numbers);
    PyMem_RawFree(plan.segment);
    PyMem_RawFree(plan.chain);
    release_arrays(b, ARRAYS);
    return result;
}

/* --------------------------------------------------------------------------------------------------- gathering */

/* Whether rows hold `size` bytes at `at`. */
static int holds_part(const Py_buffer *rows, Py_ssize_t at, Py_ssize_t size) {
    return at >= 0 && at % 4 == 0 && at <= row_bytes(rows) && size <= row_bytes(rows) - at;
}

/* Copy what each slot's row has at `from`, as much as there is room for. */
static PyObject *gather_columns(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, SLOTS, OUT, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, READ}, {"slots", INT64, 1, READ}, {"out", FLOAT32, 2, WRITE}};
    Py_buffer b[ARRAYS];
    Py_ssize_t from;
    if (take_count("gather_columns", given, 4) < 0 || take_sizes(args + 1, (Py_ssize_t *[]){&from}, 1) < 0 ||
        take_arrays((PyObject *const[]){args[0], args[2], args[3]}, demands, b, ARRAYS) < 0)
        return NULL;
    const int64_t *slot = b[SLOTS].buf;
    Py_ssize_t count = count_of(&b[SLOTS]), each = row_bytes(&b[ROWS]), size = row_bytes(&b[OUT]);
    int good = holds_part(&b[ROWS], from, size) && b[OUT].shape[0] == count;
    for (Py_ssize_t i = 0; good && i < count; i++) good = slot[i] >= 0 && slot[i] < b[ROWS].shape[0];
    const char *row = b[ROWS].buf;
    char *to = b[OUT].buf;
    if (good)
        for (Py_ssize_t i = 0; i < count; i++, to += size) {
            if (i + AHEAD < count) fetch_row(row + slot[i + AHEAD] * each + from, size);
            memcpy(to, row + slot[i] * each + from, (size_t)size);
        }
    else
        wrong("the parts do not fit the rows");
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* Whether an array (T, B, …) holds what items of a source (n, …) have. */
static int takes_items(const Py_buffer *out, const Py_buffer *source, Py_ssize_t groups) {
    int good = source->ndim >= 1 && out->ndim == source->ndim + 1 && out->itemsize == source->itemsize &&
               out->shape[1] == groups;
    for (int i = 1; good && i < source->ndim; i++) good = out->shape[i + 1] == source->shape[i];
    return good;
}

/* Whether the steps first, first + 1, … of groups at these places are items. */
static int lie_within(const int64_t *places, Py_ssize_t groups, Py_ssize_t first, Py_ssize_t steps, Py_ssize_t items) {
    int good = first >= 0 && steps >= 0 && first <= items && steps <= items - first;
    for (Py_ssize_t g = 0; good && g < groups; g++) good = places[g] >= 0 && places[g] <= items - first - steps;
    return good;
}

/* Copy what items have in source, for steps first, first + 1, … of each group: out is (steps, groups, …). */
static PyObject *gather_steps(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { SOURCE, ITEMS, PLACES, OUT, ARRAYS };
    static const Demand demands[ARRAYS] = {{"source", FLOAT32_OR_INT64, ANY, READ},
                                           {"items", INT64, 1, READ},
                                           {"places", INT64, 1, READ},
                                           {"out", FLOAT32_OR_INT64, ANY, WRITE}};
    Py_buffer b[ARRAYS];
    Py_ssize_t first;
    if (take_count("gather_steps", given, 5) < 0 || take_sizes(args + 3, (Py_ssize_t *[]){&first}, 1) < 0 ||
        take_arrays((PyObject *const[]){args[0], args[1], args[2], args[4]}, demands, b, ARRAYS) < 0)
        return NULL;
    const int64_t *item = b[ITEMS].buf, *place = b[PLACES].buf;
    Py_ssize_t groups = count_of(&b[PLACES]), steps = b[OUT].ndim ? b[OUT].shape[0] : 0;
    Py_ssize_t limit = b[SOURCE].ndim ? b[SOURCE].shape[0] : 0, size = limit ? b[SOURCE].len / limit : 0;
    int good = takes_items(&b[OUT], &b[SOURCE], groups) &&
               lie_within(place, groups, first, steps, count_of(&b[ITEMS]));
    const char *from = b[SOURCE].buf;
    char *to = b[OUT].buf;
    for (Py_ssize_t step = first; good && step < first + steps; step++)
        for (Py_ssize_t g = 0; good && g < groups; g++, to += size) {
            int64_t at = item[place[g] + step];
            good = at >= 0 && at < limit;
            if (!good) break;
            if (size == 4)
                memcpy(to, from + at * 4, 4);
            else
                memcpy(to, from + at * size, (size_t)size);
        }
    if (!good) wrong("the steps do not fit the items");
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

static int is_finite(const Py_buffer *numbers) {
    const int32_t *bits = numbers->buf;
    Py_ssize_t count = numbers->len / 4;
    int32_t bad = 0; /* the exponent's bits all set is what is not finite; signed, as any processor compares many */
    for (Py_ssize_t i = 0; i < count; i++) bad |= (bits[i] & 0x7fffffff) > 0x7f7fffff;
    return !bad;
}

static PyObject *all_finite(PyObject *module, PyObject *argument) {
    (void)module;
    static const Demand demand = {"numbers", FLOAT32, ANY, READ};
    Py_buffer numbers;
    if (take_array(argument, &demand, &numbers) < 0) return NULL;
    int finite = is_finite(&numbers);
    PyBuffer_Release(&numbers);
    return PyBool_FromLong(finite);
}

/* ------------------------------------------------------------------------------------------------- calibrating */

/* What is no number has one pattern of bits, whichever operation it came from. */
static double canonical(double number) { return isnan(number) ? NAN : number; }

/* What is written, and what values are held against, is a float32 unless numbers are exact. */
static double rounded(double number, int exact) { return exact ? number : (float)number; }

static double within(double number, int exact) {
    return number > FLT_MAX ? FLT_MAX : number >= -FLT_MAX ? rounded(number, exact) : isnan(number) ? NAN : -FLT_MAX;
}

static void ends(const Calibration *kept, double around, int exact, double *low, double *high) {
    double one = around - kept->low * kept->scale, other = around + kept->high * kept->scale;
    *low = within(one < other ? one : other, exact);
    *high = within(one < other ? other : one, exact);
}

/* 1 - how often a series that goes on as before has an error of this size or more. */
static double surprise(const Calibration *kept, const Constants *constants, double size) {
    if (!(kept->scale > 0.0)) return size > 0.0 ? 1.0 : 0.0;
    const double *tails = constants->tails;
    double ratio = size / kept->scale, below = 0.0, edge = kept->tails[0], share;
    int above = 0;
    while (above < TAILS && edge < ratio) {
        below = edge;
        if (++above < TAILS && kept->tails[above] > edge) edge = kept->tails[above]; /* they may cross for a while */
    }
    if (above == 0)
        share = 1.0 - (1.0 - tails[0]) * (ratio / edge);
    else if (above == TAILS)
        share = tails[TAILS - 1] * (below / ratio);
    else
        share = tails[above - 1] + (tails[above] - tails[above - 1]) * ((ratio - below) / (edge - below));
    return canonical(1.0 - share);
}

static void learn(Calibration *kept, const Constants *constants, double error) {
    double size = fabs(error);
    if (kept->scale > 0.0) {
        int missed_high = error > kept->high * kept->scale, missed_low = error < -(kept->low * kept->scale);
        kept->high += missed_high ? constants->out : -constants->in;
        kept->low += missed_low ? constants->out : -constants->in;
        double ratio = size / kept->scale;
        for (int i = 0; i < TAILS; i++) {
            double moved = kept->tails[i] * (ratio > kept->tails[i] ? constants->up[i] : constants->down[i]);
            kept->tails[i] = moved > LEAST_TAIL ? moved : LEAST_TAIL;
        }
    }
    kept->seen += 1.0;
    double weight = 1.0 / kept->seen;
    if (weight < constants->scale_weight) weight = constants->scale_weight;
    kept->scale += weight * (size - kept->scale);
}

/* The value x scores the prediction before it; returns the score, NaN if there is none yet. */
static double take_label(Calibration *kept, const Constants *constants, double x, double predicted, int exact,
                         double *covered, double *given) {
    double error = x - predicted, score = NAN;
    if (kept->seen >= constants->least_seen) {
        double low, high;
        ends(kept, predicted, exact, &low, &high);
        double inside = low <= x && x <= high;
        kept->covered += inside, *covered += inside, *given += 1.0;
        score = rounded(surprise(kept, constants, fabs(error)), exact);
    }
    learn(kept, constants, error);
    return score;
}

static void give_ends(const Calibration *kept, const Constants *constants, double around, int exact, double *low,
                      double *high) {
    *low = *high = NAN;
    if (kept->seen >= constants->least_seen) ends(kept, around, exact, low, high);
}

static PyObject *calibrate(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { KEPT, FRESH, CONSTANTS, OUT, COUNTS, GROUP, FLAGS, X, PREDICTED, Y, ARRAYS, EVENTS = ARRAYS - GROUP };
    static const Demand demands[ARRAYS] = {
        {"kept", CALIBRATION, 1, WRITE},  {"fresh", CALIBRATION_ANYWHERE, 0, READ},
        {"constants", FLOAT64, 1, READ},  {"out", FLOAT64, 2, WRITE},
        {"counts", FLOAT64, 2, WRITE},    {"group", INT64, 1, READ},
        {"flags", UINT8, 1, READ},        {"x", FLOAT64, 1, READ},
        {"predicted", FLOAT64, 1, READ},  {"y", FLOAT64, 1, READ}};
    Py_buffer b[ARRAYS];
    Py_ssize_t exact;
    if (take_count("calibrate", given, 7) < 0) return NULL;
    PyObject *arrays[ARRAYS] = {args[0], args[1], args[2], args[4], args[5]};
    if (!spread_tuple(args[3], "events", EVENTS, EVENTS, arrays + GROUP) ||
        take_sizes(args + 6, (Py_ssize_t *[]){&exact}, 1) < 0 || take_arrays(arrays, demands, b, ARRAYS) < 0)
        return NULL;
    Py_ssize_t events = count_of(&b[FLAGS]), groups = count_of(&b[KEPT]);
    const int64_t *number = b[GROUP].buf;
    const double *x = b[X].buf, *predicted = b[PREDICTED].buf, *y = b[Y].buf;
    const uint8_t *flags = b[FLAGS].buf;
    int good = (exact == 0 || exact == 1) && b[CONSTANTS].len == sizeof(Constants) && count_of(&b[GROUP]) == events && count_of(&b[X]) == events &&
               count_of(&b[PREDICTED]) == events && count_of(&b[Y]) == events && is_shaped(&b[OUT], events, EXTRAS) &&
               is_shaped(&b[COUNTS], groups, 2);
    for (Py_ssize_t i = 0; good && i < events; i++) good = number[i] >= 0 && number[i] < groups;
    Calibration *all = b[KEPT].buf;
    double *to = b[OUT].buf;
    for (Py_ssize_t i = 0; good && i < events; i++, to += EXTRAS) {
        Calibration *mine = all + number[i];
        double *count = (double *)b[COUNTS].buf + 2 * number[i];
        if (flags[i] & BEGINS) memcpy(mine, b[FRESH].buf, sizeof *mine);
        to[2] = NAN;
        if (flags[i] & LABELLED)
            to[2] = take_label(mine, b[CONSTANTS].buf, x[i], predicted[i], (int)exact, &count[0], &count[1]);
        give_ends(mine, b[CONSTANTS].buf, y[i], (int)exact, &to[0], &to[1]);
    }
    if (!good) wrong("the events do not fit the groups, or numbers are neither exact nor not");
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* --------------------------------------------------------------------------------------------------- absorbing */

/* Where things are, and whom to tell. */
typedef struct {
    Py_ssize_t each, outputs, features, size; /* bytes a row, which the rows have; O, F, D */
    Py_ssize_t output_at, value_at, state_at; /* bytes into a row */
    int target, feature;                      /* which output forecasts which feature; -1: none, nothing is scored */
    Py_ssize_t calibration_at;                /* bytes into a row; 0: not calibrated, and no columns for it */
    int interval, score;                      /* which columns follow the outputs */
    int exact;                                /* whether numbers are pairs, and what is written doubles */
    Py_ssize_t columns;                       /* of a prediction */
    const Constants *constants;
    const double *edges;
    Py_ssize_t edge_count;
} Layout;

static void tell(const Layout *layout, double *tally, double absolute, double naive, double total, double scored) {
    tally[TALLY_SCORED] += 1.0;
    tally[TALLY_ABSOLUTE] += absolute;
    tally[TALLY_NAIVE] += naive;
    if (!(total > 0.0)) return; /* a series that never moved has no scale */
    double scaled = absolute / (total / scored);
    if (!(scaled <= DBL_MAX)) return; /* nor has one whose scale is too small for a number */
    tally[TALLY_SCALED] += scaled;
    Py_ssize_t bucket = 0;
    while (bucket < layout->edge_count && scaled > layout->edges[bucket]) bucket++;
    tally[TALLY_BUCKETS + bucket] += 1.0;
}

/* Score the value x by the prediction and the value before it; the sums are the row's. */
static void score_value(const Layout *layout, char *row, double x, double predicted, double before, double *tally) {
    double sums[SUMS], error = x - predicted, naive_error = x - before;
    double absolute = fabs(error), naive = fabs(naive_error);
    uint64_t scored;
    memcpy(sums, row + SUMS_AT, sizeof sums);
    memcpy(&scored, row + SCORED_AT, 8);
    sums[ABSOLUTE] += absolute;
    sums[SQUARED] += error * error;
    sums[NAIVE_ABSOLUTE] += naive;
    sums[NAIVE_SQUARED] += naive_error * naive_error;
    scored += scored != UINT64_MAX; /* a count stops there: begun again at 0, it would depend on how values were batched */
    memcpy(row + SUMS_AT, sums, sizeof sums);
    memcpy(row + SCORED_AT, &scored, 8);
    tell(layout, tally, absolute, naive, sums[NAIVE_ABSOLUTE], (double)scored);
}

/* One rectangle of a model's answers. */
typedef struct {
    const int64_t *items, *places, *slots, *streams;
    Py_ssize_t batch, first, steps, ends; /* groups from `ends` on have no steps after these */
    const float *values, *outputs, *state;
    const uint8_t *marks; /* of the items; NULL for none */
    const int64_t *times;
    char *rows;
    void *y; /* float, or double where numbers are exact */
    double *tally;
    Py_ssize_t tally_columns;
} Rectangle;

/* One of `count` numbers, half of them low parts if they are exact. */
static double number_at(const float *numbers, Py_ssize_t at, Py_ssize_t count, int exact) {
    return exact ? (double)numbers[at] + (double)numbers[at + count / 2] : numbers[at];
}

/* Score the value x of a series that has a prediction of it; returns the score, NaN if there is none. */
static double label(const Layout *layout, char *row, Calibration *kept, const float *x, double *tally) {
    const float *last_output = (const float *)(row + layout->output_at);
    const float *last_value = (const float *)(row + layout->value_at);
    double value = number_at(x, layout->feature, layout->features, layout->exact);
    double before = number_at(last_value, layout->feature, layout->features, layout->exact);
    double predicted = number_at(last_output, layout->target, layout->outputs, layout->exact);
    score_value(layout, row, value, predicted, before, tally);
    if (!layout->calibration_at) return NAN;
    return take_label(kept, layout->constants, value, predicted, layout->exact, &tally[TALLY_COVERED],
                      &tally[TALLY_GIVEN]);
}

/* The columns after the outputs; how many there are. */
static int extras_of(const Layout *layout, const Calibration *kept, double around, double score, double to[EXTRAS]) {
    int count = 0;
    if (layout->interval) give_ends(kept, layout->constants, around, layout->exact, &to[0], &to[1]), count = 2;
    if (layout->score) to[count++] = score;
    return count;
}

/* Write a prediction's columns. */
static void write_columns(const Layout *layout, const float *y, const double *extras, int count, void *to) {
    if (layout->exact) {
        double *number = to;
        Py_ssize_t outputs = layout->outputs / 2;
        for (Py_ssize_t i = 0; i < outputs; i++) number[i] = number_at(y, i, layout->outputs, 1);
        for (int i = 0; i < count; i++) number[outputs + i] = extras[i];
    } else {
        float *number = to;
        for (Py_ssize_t i = 0; i < layout->outputs; i++) number[i] = y[i];
        for (int i = 0; i < count; i++) number[layout->outputs + i] = (float)extras[i];
    }
}

static void absorb_group(const Layout *layout, const Rectangle *rectangle, Py_ssize_t group) {
    char *row = rectangle->rows + rectangle->slots[group] * layout->each;
    const int64_t *item = rectangle->items + rectangle->places[group] + rectangle->first;
    double *tally = rectangle->tally + rectangle->streams[group] * rectangle->tally_columns;
    Py_ssize_t columns_size = layout->columns * (layout->exact ? 8 : 4);
    uint64_t steps;
    Calibration kept;
    memcpy(&steps, row + STEPS_AT, 8);
    if (layout->calibration_at) memcpy(&kept, row + layout->calibration_at, sizeof kept);
    float *last_output = (float *)(row + layout->output_at), *last_value = (float *)(row + layout->value_at);
    for (Py_ssize_t step = 0; step < rectangle->steps; step++, steps += steps != UINT64_MAX) {
        const float *x = rectangle->values + item[step] * layout->features;
        const float *y = rectangle->outputs + (step * rectangle->batch + group) * layout->outputs;
        int is_label = layout->target >= 0 && steps && !(rectangle->marks && rectangle->marks[item[step]] & MISSING);
        double score = is_label ? label(layout, row, &kept, x, tally) : NAN, extras[EXTRAS];
        for (Py_ssize_t i = 0; i < layout->outputs; i++) last_output[i] = y[i];
        for (Py_ssize_t i = 0; i < layout->features; i++) last_value[i] = x[i];
        int count = 0;
        if (layout->calibration_at)
            count = extras_of(layout, &kept, number_at(y, layout->target, layout->outputs, layout->exact), score, extras);
        write_columns(layout, y, extras, count, (char *)rectangle->y + item[step] * columns_size);
    }
    row[REJECTED_AT] = 0;
    memcpy(row + STEPS_AT, &steps, 8);
    memcpy(row + TIME_AT, &rectangle->times[item[rectangle->steps - 1]], 8);
    if (layout->calibration_at) memcpy(row + layout->calibration_at, &kept, sizeof kept);
    if (group >= rectangle->ends)
        memcpy(row + layout->state_at, rectangle->state + group * layout->size, 4 * (size_t)layout->size);
}

/* Whether `count` numbers at so many bytes into a row lie behind its header and within it. */
static int holds(const Layout *layout, Py_ssize_t at, Py_ssize_t count) {
    return at >= HEADER_SIZE && at % 4 == 0 && count >= 0 && at <= layout->each && count <= (layout->each - at) / 4;
}

/* A tuple as `carry_demands.Layout` has it, of these rows. */
static int take_layout(PyObject *tuple, const Py_buffer *rows, Layout *layout) {
    enum { FIELDS = 12 };
    Py_ssize_t target, feature, interval, score, exact;
    Py_ssize_t *const fields[FIELDS] = {&layout->outputs,   &layout->features, &layout->size,     &layout->output_at,
                                        &layout->value_at,  &layout->state_at, &target,           &feature,
                                        &layout->calibration_at, &interval,    &score,            &exact};
    PyObject *const *numbers = take_tuple(tuple, "layout", FIELDS);
    if (!numbers || take_sizes(numbers, fields, FIELDS) < 0) return -1;
    layout->each = row_bytes(rows);
    if (layout->outputs < 1 || layout->features < 1 ||
        !holds(layout, layout->output_at, layout->outputs) || !holds(layout, layout->value_at, layout->features) ||
        !holds(layout, layout->state_at, layout->size) || target < -1 || target >= layout->outputs ||
        target > INT_MAX || feature < 0 || feature >= layout->features || feature > INT_MAX)
        return wrong("the layout does not fit the rows");
    if (exact && (target >= layout->outputs / 2 || feature >= layout->features / 2 || layout->outputs % 2 ||
                  layout->features % 2)) /* the low parts of a pair stand behind all high ones */
        return wrong("the layout does not fit the rows");
    if (interval < 0 || interval > 1 || score < 0 || score > 1 || exact < 0 || exact > 1 || (!layout->calibration_at && (interval || score)))
        return wrong("there are no calibrations for the columns asked for");
    if (layout->calibration_at && (target < 0 || !holds(layout, layout->calibration_at, sizeof(Calibration) / 4)))
        return wrong("the layout does not fit the rows");
    layout->target = (int)target, layout->feature = (int)feature;
    layout->interval = (int)interval, layout->score = (int)score, layout->exact = (int)exact;
    layout->columns = layout->outputs / (1 + exact) + 2 * interval + score;
    return 0;
}

/* 0 if numbers are written as wide as the layout has them. */
static int hold_width(const Py_buffer *y, const Layout *layout) {
    const TypeFacts *facts = &TYPES[layout->exact ? FLOAT64 : FLOAT32];
    if (y->itemsize == facts->size) return 0;
    PyErr_Format(PyExc_TypeError, "y: an array of %s is needed", facts->name);
    return -1;
}

/* Take the numbers that calibrate and score, and whether there is a tally of these edges' buckets. */
static int take_numbers(Layout *layout, const Py_buffer *constants, const Py_buffer *edges, const Py_buffer *tally) {
    layout->constants = constants->buf;
    layout->edges = edges->buf, layout->edge_count = count_of(edges);
    return (!layout->calibration_at || constants->len == sizeof(Constants)) &&
           tally->shape[1] == TALLY_BUCKETS + layout->edge_count + 1;
}

/* 0 if every item, row and tally of a rectangle is there. */
static int hold_rectangle(const Rectangle *r, Py_ssize_t rows, Py_ssize_t items, Py_ssize_t values,
                          Py_ssize_t streams) {
    if (r->first < 0 || r->steps < 1 || r->ends < 0 || r->ends > r->batch) return wrong("a rectangle has no steps");
    if (!lie_within(r->places, r->batch, r->first, r->steps, items)) return wrong("items are short, or lie beyond");
    for (Py_ssize_t group = 0; group < r->batch; group++) {
        if (r->slots[group] < -1 || r->slots[group] >= rows) return wrong("a slot lies beyond the rows");
        if (r->streams[group] < 0 || r->streams[group] >= streams) return wrong("a stream has no tally");
        const int64_t *item = r->items + r->places[group] + r->first;
        for (Py_ssize_t step = 0; step < r->steps; step++)
            if (item[step] < 0 || item[step] >= values) return wrong("an item lies beyond the values");
    }
    return 0;
}

/* Whether an array holds `size` numbers, as the last of so many dimensions has it. */
static int is_answer(const Py_buffer *outputs, Py_ssize_t steps, Py_ssize_t batch, Py_ssize_t each) {
    Py_ssize_t size;
    return outputs->ndim > 0 && outputs->shape[outputs->ndim - 1] == each && !multiply_sizes(steps, batch, &size) &&
           !multiply_sizes(size, each, &size) && count_of(outputs) == size;
}

static PyObject *apply_outputs(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, CONSTANTS, EDGES, ITEMS, VALUES, TIMES, MARKS, Y, TALLY, PLACES, SLOTS, STREAMS, OUTPUTS, STATE, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, WRITE},          {"constants", FLOAT64, 1, READ}, {"edges", FLOAT64, 1, READ},
        {"items", INT64, 1, READ},            {"values", FLOAT32, 2, READ},    {"times_ms", INT64, 1, READ},
        {"marks", UINT8, 1, READ_IF_ANY},     {"y", FLOAT32_OR_FLOAT64, 2, WRITE},
        {"tally", FLOAT64, 2, WRITE},         {"places", INT64, 1, READ},      {"slots", INT64, 1, READ},
        {"streams", INT64, 1, READ},          {"outputs", FLOAT32, ANY, READ}, {"state", FLOAT32, 2, READ}};
    Py_buffer b[ARRAYS];
    PyObject *arrays[ARRAYS], *const *answer;
    Layout layout;
    Rectangle r;
    if (take_count("apply_outputs", given, 5) < 0) return NULL;
    arrays[ROWS] = args[0];
    if (!spread_tuple(args[2], "numbers", 2, 2, arrays + CONSTANTS) ||
        !spread_tuple(args[3], "batch", 6, 6, arrays + ITEMS) ||
        !(answer = spread_tuple(args[4], "answer", 8, 5, arrays + PLACES)) ||
        take_sizes(answer + 5, (Py_ssize_t *[]){&r.first, &r.steps, &r.ends}, 3) < 0 ||
        take_arrays(arrays, demands, b, ARRAYS) < 0)
        return NULL;
    r.batch = count_of(&b[SLOTS]);
    r.marks = b[MARKS].buf;
    Py_ssize_t values = count_of(&b[TIMES]);
    int good = take_layout(args[1], &b[ROWS], &layout) == 0 && hold_width(&b[Y], &layout) == 0;
    if (good && !(take_numbers(&layout, &b[CONSTANTS], &b[EDGES], &b[TALLY]) && count_of(&b[PLACES]) == r.batch &&
                  count_of(&b[STREAMS]) == r.batch && is_shaped(&b[VALUES], values, layout.features) &&
                  is_shaped(&b[Y], values, layout.columns) && is_answer(&b[OUTPUTS], r.steps, r.batch, layout.outputs) &&
                  is_shaped(&b[STATE], r.batch, layout.size) && (!r.marks || count_of(&b[MARKS]) == values)))
        good = wrong("the arrays of a rectangle do not fit each other") == 0;
    r.tally_columns = b[TALLY].shape[1];
    r.items = b[ITEMS].buf, r.places = b[PLACES].buf, r.slots = b[SLOTS].buf, r.streams = b[STREAMS].buf;
    r.values = b[VALUES].buf, r.times = b[TIMES].buf, r.outputs = b[OUTPUTS].buf, r.state = b[STATE].buf;
    r.rows = b[ROWS].buf, r.y = b[Y].buf, r.tally = b[TALLY].buf;
    good = good && hold_rectangle(&r, b[ROWS].shape[0], count_of(&b[ITEMS]), values, b[TALLY].shape[0]) == 0;
    if (good)
        for (Py_ssize_t group = 0, next = AHEAD; group < r.batch; group++, next++) {
            if (next < r.batch && r.slots[next] >= 0)
                fetch_row(r.rows + r.slots[next] * layout.each, next < r.ends ? layout.state_at : layout.each);
            if (r.slots[group] >= 0) absorb_group(&layout, &r, group); /* else it had no answer */
        }
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------------------------ a single value */

/* Of what `scan_single` finds: see streamlstm/store/resp/codec_python.py. */
enum { FOUND_TIME = 2, FOUND_SLOT = 5, FOUND_COLUMNS };

/* Copy the state of a value's series to where the model reads it; false after a silence that is too long. */
static PyObject *gather_one(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, FOUND, STATE, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, READ}, {"found", INT64, 1, READ}, {"state", FLOAT32, 2, WRITE}};
    Py_buffer b[ARRAYS];
    Py_ssize_t state_at, silence_ms;
    if (take_count("gather_one", given, 5) < 0 || take_sizes(args + 1, (Py_ssize_t *[]){&state_at}, 1) < 0 ||
        take_sizes(args + 3, (Py_ssize_t *[]){&silence_ms}, 1) < 0 ||
        take_arrays((PyObject *const[]){args[0], args[2], args[4]}, demands, b, ARRAYS) < 0)
        return NULL;
    const int64_t *what = b[FOUND].buf;
    int good = count_of(&b[FOUND]) == FOUND_COLUMNS && state_at >= HEADER_SIZE &&
               holds_part(&b[ROWS], state_at, b[STATE].len) && b[STATE].shape[0] == 1 &&
               what[FOUND_SLOT] >= 0 && what[FOUND_SLOT] < b[ROWS].shape[0];
    int heard = 1;
    if (good) {
        const char *row = (const char *)b[ROWS].buf + what[FOUND_SLOT] * row_bytes(&b[ROWS]);
        int64_t last_ms;
        uint64_t steps;
        memcpy(&last_ms, row + TIME_AT, 8);
        memcpy(&steps, row + STEPS_AT, 8);
        heard = !steps || (__int128)what[FOUND_TIME] - last_ms <= silence_ms;
        if (heard) memcpy(b[STATE].buf, row + state_at, (size_t)b[STATE].len);
    } else
        wrong("the row of a value does not hold its state");
    release_arrays(b, ARRAYS);
    return good ? PyBool_FromLong(heard) : NULL;
}

/* `apply_outputs` for one value: false, and nothing is touched, if the answer is not finite. */
static PyObject *apply_output(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, CONSTANTS, EDGES, FOUND, VALUE, OUTPUTS, STATE, Y, TALLY, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, WRITE}, {"constants", FLOAT64, 1, READ},       {"edges", FLOAT64, 1, READ},
        {"found", INT64, 1, READ},   {"value", FLOAT32, 2, READ},           {"outputs", FLOAT32, ANY, READ},
        {"state", FLOAT32, 2, READ}, {"y", FLOAT32_OR_FLOAT64, 2, WRITE}, {"tally", FLOAT64, 2, WRITE}};
    static const int64_t none = 0;
    Py_buffer b[ARRAYS];
    Layout layout;
    if (take_count("apply_output", given, 8) < 0) return NULL;
    PyObject *arrays[ARRAYS] = {[ROWS] = args[0], [FOUND] = args[3], args[4], [Y] = args[6], args[7]};
    if (!spread_tuple(args[2], "numbers", 2, 2, arrays + CONSTANTS) ||
        !spread_tuple(args[5], "answer", 2, 2, arrays + OUTPUTS) || take_arrays(arrays, demands, b, ARRAYS) < 0)
        return NULL;
    const int64_t *found = b[FOUND].buf;
    Rectangle r = {.items = &none, .places = &none, .streams = &none, .slots = found + FOUND_SLOT,
                   .times = found + FOUND_TIME, .batch = 1, .steps = 1, .values = b[VALUE].buf,
                   .outputs = b[OUTPUTS].buf, .state = b[STATE].buf, .rows = b[ROWS].buf, .y = b[Y].buf,
                   .tally = b[TALLY].buf, .tally_columns = b[TALLY].shape[1]};
    int finite = 0, good = take_layout(args[1], &b[ROWS], &layout) == 0 && hold_width(&b[Y], &layout) == 0;
    if (good && !(take_numbers(&layout, &b[CONSTANTS], &b[EDGES], &b[TALLY]) && count_of(&b[FOUND]) == FOUND_COLUMNS &&
                  found[FOUND_SLOT] >= 0 && is_shaped(&b[VALUE], 1, layout.features) &&
                  is_shaped(&b[Y], 1, layout.columns) && is_answer(&b[OUTPUTS], 1, 1, layout.outputs) &&
                  is_shaped(&b[STATE], 1, layout.size)))
        good = wrong("the arrays of a value do not fit each other") == 0;
    good = good && hold_rectangle(&r, b[ROWS].shape[0], 1, 1, b[TALLY].shape[0]) == 0;
    if (good && (finite = is_finite(&b[OUTPUTS]) && is_finite(&b[STATE]))) absorb_group(&layout, &r, 0);
    release_arrays(b, ARRAYS);
    return good ? PyBool_FromLong(finite) : NULL;
}

static PyMethodDef functions[] = {
    {"lay_out", FUNCTION(lay_out), METH_FASTCALL, "Items by series, the series with most first."},
    {"gather_columns", FUNCTION(gather_columns), METH_FASTCALL, "A part of each slot's row."},
    {"gather_steps", FUNCTION(gather_steps), METH_FASTCALL, "What each item of a rectangle has."},
    {"all_finite", all_finite, METH_O, "Whether all of some float32 numbers are finite."},
    {"calibrate", FUNCTION(calibrate), METH_FASTCALL, "Take values into the calibrations of their series."},
    {"apply_outputs", FUNCTION(apply_outputs), METH_FASTCALL, "Take a rectangle's answers into the rows."},
    {"gather_one", FUNCTION(gather_one), METH_FASTCALL, "The state of a single value's series."},
    {"apply_output", FUNCTION(apply_output), METH_FASTCALL, "Take the answer to a single value into its row."},
    {0},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "streamlstm.engine._kernels", "Compiled parts of stepping.", -1, functions, NULL, NULL, NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__kernels(void) { return find_numpy() < 0 ? NULL : PyModule_Create(&definition); }
