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
#include "_calibration.h"
#include "_schedule.h"

/* Offsets into a record's row: see streamlstm/store/record/layout.py. */
enum { REJECTED_AT = 7, TIME_AT = 16, STEPS_AT = 24, SCORED_AT = 32, SUMS_AT = 40, HEADER_SIZE = 72 };
enum { ABSOLUTE, SQUARED, NAIVE_ABSOLUTE, NAIVE_SQUARED, SUMS };

/* Columns of a stream's tally: see streamlstm/engine/scoring.py. */
enum {
    TALLY_SCORED,
    TALLY_ABSOLUTE,
    TALLY_NAIVE,
    TALLY_SCALED,
    TALLY_COVERED,
    TALLY_GIVEN,
    TALLY_FIRST_SCORED,
    TALLY_FIRST_ABSOLUTE,
    TALLY_FIRST_NAIVE,
    TALLY_BUCKETS
};
enum { FIRST_VALUES = 50 };

/* --------------------------------------------------------------------------------------------------- gathering */

/* Whether rows hold `size` bytes at `at`. */
static int holds_part(const Py_buffer *rows, Py_ssize_t at, Py_ssize_t size) {
    return at >= 0 && at % 4 == 0 && at <= row_bytes(rows) && size <= row_bytes(rows) - at;
}

/* Copy `size` bytes of each slot's row, from where they stand in the first row. */
static void copy_parts(const char *part, Py_ssize_t each, const int64_t *slot, Py_ssize_t count, Py_ssize_t size, char *to) {
    for (Py_ssize_t i = 0; i < count; i++, to += size) {
        if (i + AHEAD < count) fetch_row(part + slot[i + AHEAD] * each, size);
        memcpy(to, part + slot[i] * each, (size_t)size);
    }
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
    if (good) {
        PyThreadState *held = let_go(count);
        copy_parts((const char *)b[ROWS].buf + from, each, slot, count, size, b[OUT].buf);
        hold_again(held);
    } else
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

/* The steps first, first + 1, … of groups. */
typedef struct {
    const int64_t *places;
    Py_ssize_t groups, first, steps;
} Span;

/* Copy what items have in source, `size` bytes each, step by step; 0 where one is not below the limit. */
static int copy_steps(const char *from, Py_ssize_t limit, Py_ssize_t size, const int64_t *item, Span span, char *to) {
    for (Py_ssize_t step = span.first; step < span.first + span.steps; step++)
        for (Py_ssize_t g = 0; g < span.groups; g++, to += size) {
            int64_t at = item[span.places[g] + step];
            if (at < 0 || at >= limit) return 0;
            if (size == 4)
                memcpy(to, from + at * 4, 4);
            else
                memcpy(to, from + at * size, (size_t)size);
        }
    return 1;
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
    PyThreadState *held = let_go(groups);
    good = good && copy_steps(b[SOURCE].buf, limit, size, item, (Span){place, groups, first, steps}, b[OUT].buf);
    hold_again(held);
    if (!good) wrong("the steps do not fit the items");
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

static inline __attribute__((always_inline)) int are_finite(const int32_t *bits, Py_ssize_t count) {
    int32_t bad = 0; /* the exponent's bits all set is what is not finite; signed, as any processor compares many */
    for (Py_ssize_t i = 0; i < count; i++) bad |= (bits[i] & 0x7fffffff) > 0x7f7fffff;
    return !bad;
}

#ifdef __x86_64__ /* twice as many at once, where the processor has it */
__attribute__((target("avx2"))) static int are_finite_avx2(const int32_t *bits, Py_ssize_t count) {
    return are_finite(bits, count);
}
#endif

static int is_finite(const Py_buffer *numbers) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) return are_finite_avx2(numbers->buf, numbers->len / 4);
#endif
    return are_finite(numbers->buf, numbers->len / 4);
}

static PyObject *all_finite(PyObject *module, PyObject *argument) {
    (void)module;
    static const Demand demand = {"numbers", FLOAT32, ANY, READ};
    Py_buffer numbers;
    if (take_array(argument, &demand, &numbers) < 0) return NULL;
    PyThreadState *held = let_go(numbers.len / LINE);
    int finite = is_finite(&numbers);
    hold_again(held);
    PyBuffer_Release(&numbers);
    return PyBool_FromLong(finite);
}

/* --------------------------------------------------------------------------------------------------- absorbing */

/* Where things are, and whom to tell. */
typedef struct {
    Py_ssize_t each, outputs, features, size; /* bytes a row, which the rows have; O, F, D */
    Py_ssize_t output_at, value_at, state_at; /* bytes into a row */
    int target, feature;                      /* which output forecasts which feature; -1: none, nothing is scored */
    Py_ssize_t calibration_at;                /* bytes into a row; 0: not calibrated, and no columns for it */
    int interval, score;                      /* which columns follow the outputs */
    int against;                              /* whether what a score is of does too */
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
    if (scored < FIRST_VALUES) {
        tally[TALLY_FIRST_SCORED] += 1.0;
        tally[TALLY_FIRST_ABSOLUTE] += absolute;
        tally[TALLY_FIRST_NAIVE] += naive;
    }
    if (!(total > 0.0)) return; /* a series that never moved has no scale */
    double scaled = absolute / (total / scored);
    if (!(scaled <= DBL_MAX)) return; /* nor has one whose scale is too small for a number */
    tally[TALLY_SCALED] += scaled;
    /* How many edges, which ascend, are below it: all are looked at, several at once, as nobody can guess where it is. */
    int64_t below = 0;
    for (Py_ssize_t i = 0; i < layout->edge_count; i++) below += scaled > layout->edges[i];
    tally[TALLY_BUCKETS + below] += 1.0;
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
    const int64_t *later; /* slots whose states are read next, one for each group at most */
    Py_ssize_t later_count;
} Rectangle;

/* One of `count` numbers, half of them low parts if they are exact. */
static double number_at(const float *numbers, Py_ssize_t at, Py_ssize_t count, int exact) {
    return exact ? (double)numbers[at] + (double)numbers[at + count / 2] : numbers[at];
}

/* Score the value x of a series that has a prediction of it; returns the score, NaN if there is none. */
static double label(const Layout *layout, char *row, Calibration *kept, const float *x, double *tally, Against *against) {
    const float *last_output = (const float *)(row + layout->output_at);
    const float *last_value = (const float *)(row + layout->value_at);
    double value = number_at(x, layout->feature, layout->features, layout->exact);
    double before = number_at(last_value, layout->feature, layout->features, layout->exact);
    double predicted = number_at(last_output, layout->target, layout->outputs, layout->exact);
    score_value(layout, row, value, predicted, before, tally);
    if (!layout->calibration_at) return NAN;
    return take_label(kept, layout->constants, value, predicted, layout->exact, &tally[TALLY_COVERED],
                      &tally[TALLY_GIVEN], against);
}

/* The columns after the outputs; how many there are. */
static int extras_of(const Layout *layout, const Calibration *kept, double around, double score, const Against *against,
                     double to[MOST_EXTRAS]) {
    int count = 0;
    if (layout->interval) give_ends(kept, layout->constants, around, layout->exact, &to[0], &to[1]), count = 2;
    if (layout->score) to[count++] = score;
    if (layout->against) to[count++] = against->predicted, to[count++] = against->low, to[count++] = against->high;
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
        double extras[MOST_EXTRAS];
        Against against = NOTHING;
        double score = is_label ? label(layout, row, &kept, x, tally, &against) : NAN;
        for (Py_ssize_t i = 0; i < layout->outputs; i++) last_output[i] = y[i];
        for (Py_ssize_t i = 0; i < layout->features; i++) last_value[i] = x[i];
        int count = 0;
        if (layout->calibration_at)
            count = extras_of(layout, &kept, number_at(y, layout->target, layout->outputs, layout->exact), score,
                              &against, extras);
        write_columns(layout, y, extras, count, (char *)rectangle->y + item[step] * columns_size);
    }
    row[REJECTED_AT] = 0;
    memcpy(row + STEPS_AT, &steps, 8);
    memcpy(row + TIME_AT, &rectangle->times[item[rectangle->steps - 1]], 8);
    if (layout->calibration_at) memcpy(row + layout->calibration_at, &kept, sizeof kept);
    if (group >= rectangle->ends)
        memcpy(row + layout->state_at, rectangle->state + group * layout->size, 4 * (size_t)layout->size);
}

/* Take a rectangle's answers into the rows of its groups, but of those that had none. */
static void absorb_groups(const Layout *layout, const Rectangle *r) {
    for (Py_ssize_t group = 0, next = AHEAD; group < r->batch; group++, next++) {
        if (next < r->batch && r->slots[next] >= 0)
            fetch_row(r->rows + r->slots[next] * layout->each, next < r->ends ? layout->state_at : layout->each);
        if (group < r->later_count)
            fetch_row(r->rows + r->later[group] * layout->each + layout->state_at, 4 * layout->size);
        if (r->slots[group] >= 0) absorb_group(layout, r, group);
    }
}

/* Whether `count` numbers at so many bytes into a row lie behind its header and within it. */
static int holds(const Layout *layout, Py_ssize_t at, Py_ssize_t count) {
    return at >= HEADER_SIZE && at % 4 == 0 && count >= 0 && at <= layout->each && count <= (layout->each - at) / 4;
}

/* A tuple as `carry_demands.Layout` has it, of these rows. */
static int take_layout(PyObject *tuple, const Py_buffer *rows, Layout *layout) {
    enum { FIELDS = 13 };
    Py_ssize_t target, feature, interval, score, exact, against;
    Py_ssize_t *const fields[FIELDS] = {&layout->outputs,   &layout->features, &layout->size,     &layout->output_at,
                                        &layout->value_at,  &layout->state_at, &target,           &feature,
                                        &layout->calibration_at, &interval,    &score,            &exact,
                                        &against};
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
    if (interval < 0 || interval > 1 || score < 0 || score > 1 || exact < 0 || exact > 1 || against < 0 || against > score ||
        (!layout->calibration_at && (interval || score)))
        return wrong("there are no calibrations for the columns asked for");
    if (layout->calibration_at && (target < 0 || !holds(layout, layout->calibration_at, sizeof(Calibration) / 4)))
        return wrong("the layout does not fit the rows");
    layout->target = (int)target, layout->feature = (int)feature;
    layout->interval = (int)interval, layout->score = (int)score, layout->exact = (int)exact;
    layout->against = (int)against;
    layout->columns = layout->outputs / (1 + exact) + 2 * interval + score + 3 * against;
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
    Rectangle r = {.later_count = 0};
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
    if (good) {
        PyThreadState *held = let_go(r.batch);
        absorb_groups(&layout, &r);
        hold_again(held);
    }
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* --------------------------------------------------------------------------------------------------- live values */

/* Of what `scan_live` finds: see streamlstm/store/resp/codec_python.py. */
enum { FOUND_TIME = 2, FOUND_SLOT = 5, FOUND_COLUMNS, MOST_LIVE = 64 };

/* Whether a value comes after too long a silence of its series, which was heard so many steps and last at a time. */
static int is_silent(int64_t time_ms, int64_t last_ms, uint64_t steps, Py_ssize_t silence_ms) {
    return steps && (__int128)time_ms - last_ms > silence_ms;
}

/* Copy the states of live values' series to where the model reads them, one each, or one if all are of one series; false
 * after a silence that is too long. */
static PyObject *gather_live(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, FOUND, STATE, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, READ}, {"found", INT64, 2, READ}, {"state", FLOAT32, 2, WRITE}};
    Py_buffer b[ARRAYS];
    Py_ssize_t state_at, silence_ms;
    if (take_count("gather_live", given, 5) < 0 || take_sizes(args + 1, (Py_ssize_t *[]){&state_at}, 1) < 0 ||
        take_sizes(args + 3, (Py_ssize_t *[]){&silence_ms}, 1) < 0 ||
        take_arrays((PyObject *const[]){args[0], args[2], args[4]}, demands, b, ARRAYS) < 0)
        return NULL;
    Py_ssize_t count = b[FOUND].shape[1], batch = b[STATE].shape[0], size = row_bytes(&b[STATE]), each = row_bytes(&b[ROWS]);
    const int64_t *time_ms = (const int64_t *)b[FOUND].buf + FOUND_TIME * count;
    const int64_t *slot = (const int64_t *)b[FOUND].buf + FOUND_SLOT * count;
    int good = b[FOUND].shape[0] == FOUND_COLUMNS && state_at >= HEADER_SIZE && holds_part(&b[ROWS], state_at, size) &&
               batch >= 1 && (batch == count || batch == 1) && count >= 1;
    for (Py_ssize_t i = 0; good && i < batch; i++) good = slot[i] >= 0 && slot[i] < b[ROWS].shape[0];
    int heard = 1;
    if (good) {
        for (Py_ssize_t i = 0; i < batch; i++) fetch_row((const char *)b[ROWS].buf + slot[i] * each, state_at + size);
        for (Py_ssize_t i = 0; heard && i < batch; i++) {
            const char *row = (const char *)b[ROWS].buf + slot[i] * each;
            int64_t last_ms;
            uint64_t steps;
            memcpy(&last_ms, row + TIME_AT, 8);
            memcpy(&steps, row + STEPS_AT, 8);
            heard = !is_silent(time_ms[i], last_ms, steps, silence_ms);
        }
        for (Py_ssize_t i = batch; heard && i < count; i++)
            heard = !is_silent(time_ms[i], time_ms[i - 1], 1, silence_ms);
        for (Py_ssize_t i = 0; heard && i < batch; i++)
            memcpy((char *)b[STATE].buf + i * size, (const char *)b[ROWS].buf + slot[i] * each + state_at, (size_t)size);
    } else
        wrong("the rows of the values do not hold their states");
    release_arrays(b, ARRAYS);
    return good ? PyBool_FromLong(heard) : NULL;
}

/* `apply_outputs` for live values, each of another series or all of one: false, and nothing is touched, if an answer is not
 * finite. */
static PyObject *apply_live(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, CONSTANTS, EDGES, FOUND, VALUES, OUTPUTS, STATE, Y, TALLY, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, WRITE}, {"constants", FLOAT64, 1, READ},       {"edges", FLOAT64, 1, READ},
        {"found", INT64, 2, READ},   {"values", FLOAT32, 2, READ},          {"outputs", FLOAT32, ANY, READ},
        {"state", FLOAT32, 2, READ}, {"y", FLOAT32_OR_FLOAT64, 2, WRITE}, {"tally", FLOAT64, 2, WRITE}};
    static const int64_t zeros[MOST_LIVE];
    int64_t items[MOST_LIVE];
    Py_buffer b[ARRAYS];
    Layout layout;
    if (take_count("apply_live", given, 8) < 0) return NULL;
    PyObject *arrays[ARRAYS] = {[ROWS] = args[0], [FOUND] = args[3], args[4], [Y] = args[6], args[7]};
    if (!spread_tuple(args[2], "numbers", 2, 2, arrays + CONSTANTS) ||
        !spread_tuple(args[5], "answer", 2, 2, arrays + OUTPUTS) || take_arrays(arrays, demands, b, ARRAYS) < 0)
        return NULL;
    Py_ssize_t count = b[FOUND].shape[1], batch = b[STATE].shape[0];
    const int64_t *found = b[FOUND].buf;
    int fits = b[FOUND].shape[0] == FOUND_COLUMNS && count >= 1 && count <= MOST_LIVE && (batch == count || batch == 1);
    Rectangle r = {.items = items, .places = items, .streams = zeros, .slots = found + FOUND_SLOT * count,
                   .times = found + FOUND_TIME * count, .batch = batch, .steps = fits ? count / batch : 0,
                   .values = b[VALUES].buf, .outputs = b[OUTPUTS].buf, .state = b[STATE].buf, .rows = b[ROWS].buf,
                   .y = b[Y].buf, .tally = b[TALLY].buf, .tally_columns = b[TALLY].shape[1]};
    int finite = 0, good = take_layout(args[1], &b[ROWS], &layout) == 0 && hold_width(&b[Y], &layout) == 0;
    if (good && !(fits && take_numbers(&layout, &b[CONSTANTS], &b[EDGES], &b[TALLY]) &&
                  is_shaped(&b[VALUES], count, layout.features) && is_shaped(&b[Y], count, layout.columns) &&
                  is_answer(&b[OUTPUTS], r.steps, batch, layout.outputs) && is_shaped(&b[STATE], batch, layout.size)))
        good = wrong("the arrays of live values do not fit each other") == 0;
    for (Py_ssize_t i = 0; good && i < count; i++) items[i] = i;
    for (Py_ssize_t i = 0; good && i < batch; i++)
        if (r.slots[i] < 0) good = wrong("the arrays of live values do not fit each other") == 0;
    good = good && hold_rectangle(&r, b[ROWS].shape[0], count, count, b[TALLY].shape[0]) == 0;
    if (good && (finite = is_finite(&b[OUTPUTS]) && is_finite(&b[STATE])))
        for (Py_ssize_t group = 0; group < batch; group++) absorb_group(&layout, &r, group);
    release_arrays(b, ARRAYS);
    return good ? PyBool_FromLong(finite) : NULL;
}

#include "_tile.h"

static PyMethodDef functions[] = {
    {"lay_out", FUNCTION(lay_out), METH_FASTCALL, "Items by series, the series with most first."},
    {"gather_columns", FUNCTION(gather_columns), METH_FASTCALL, "A part of each slot's row."},
    {"gather_steps", FUNCTION(gather_steps), METH_FASTCALL, "What each item of a rectangle has."},
    {"all_finite", all_finite, METH_O, "Whether all of some float32 numbers are finite."},
    {"calibrate", FUNCTION(calibrate), METH_FASTCALL, "Take values into the calibrations of their series."},
    {"apply_outputs", FUNCTION(apply_outputs), METH_FASTCALL, "Take a rectangle's answers into the rows."},
    {"step_tiles", FUNCTION(step_tiles), METH_FASTCALL, "Step tiles all of which have finite answers."},
    {"gather_live", FUNCTION(gather_live), METH_FASTCALL, "The states of live values' series."},
    {"apply_live", FUNCTION(apply_live), METH_FASTCALL, "Take the answers to live values into their rows."},
    {0},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "streamlstm.engine._kernels", "Compiled parts of stepping.", -1, functions, NULL, NULL, NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__kernels(void) {
    return find_numpy() < 0 || find_empty() < 0 ? NULL : PyModule_Create(&definition);
}
