/* Compiled parts of the plain way through a batch: see streamlstm/plain.py for what it is, streamlstm/carry_python.py
 * for what each function does.
 *
 * Arrays come in through the buffer protocol, so that no header but Python's is needed. Sums are float64, one value
 * after the other; built without contraction of multiply and add, so that they are the bits of the twin in Python. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "_fetch.h"

/* Offsets into a record's row: see streamlstm/record.py. */
enum { REJECTED_AT = 7, TIME_AT = 16, STEPS_AT = 24, SCORED_AT = 32, SUMS_AT = 40, HEADER_SIZE = 72 };
enum { ABSOLUTE, SQUARED, NAIVE_ABSOLUTE, NAIVE_SQUARED, SUMS };

/* Columns of a stream's tally: see streamlstm/scoring.py. */
enum { TALLY_SCORED, TALLY_ABSOLUTE, TALLY_NAIVE, TALLY_SCALED, TALLY_COVERED, TALLY_GIVEN, TALLY_BUCKETS };

/* What is kept of a series to calibrate its intervals and scores: see streamlstm/calibration.py. */
enum { TAILS = 9, LABELLED = 1, BEGINS = 2, EXTRAS = 3 };
typedef struct {
    double seen, scale, low, high, covered, tails[TAILS];
} Calibration;
typedef struct {
    double least_seen, scale_weight, out, in, tails[TAILS], up[TAILS], down[TAILS];
} Constants;

static int wrong(const char *what) {
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

/* ------------------------------------------------------------------------------------------------- laying out */

typedef struct {
    int64_t slot, count;
    int32_t stream;
    int plain;
} Group;

/* Find the groups of items with the same slot; `group_of` gets each item's, `scratch` is -1 again afterwards. */
static Py_ssize_t find_groups(const int64_t *slots, Py_ssize_t items, const uint8_t *plain, int32_t *scratch,
                              const int64_t *offsets, Group *groups, int32_t *group_of) {
    Py_ssize_t found = 0;
    int32_t stream = 0;
    for (Py_ssize_t i = 0; i < items; i++) {
        while (i >= offsets[stream + 1]) stream++;
        group_of[i] = -1;
        if (slots[i] < 0) continue;
        int32_t group = scratch[slots[i]];
        if (group < 0) {
            group = scratch[slots[i]] = (int32_t)found++;
            groups[group] = (Group){slots[i], 0, stream, 1};
        }
        groups[group].count++;
        if (plain && !plain[i]) groups[group].plain = 0;
        group_of[i] = group;
    }
    for (Py_ssize_t group = 0; group < found; group++) scratch[groups[group].slot] = -1;
    return found;
}

/* Number the plain groups by length, the longest first, those of a length in order of arrival; -1 for the others. */
static Py_ssize_t rank_groups(const Group *groups, Py_ssize_t found, int32_t *rank) {
    int64_t longest = 0;
    Py_ssize_t ranked = 0;
    for (Py_ssize_t group = 0; group < found; group++)
        if (groups[group].plain && groups[group].count > longest) longest = groups[group].count;
    int32_t *begin = PyMem_RawCalloc((size_t)longest + 2, sizeof *begin);
    if (!begin) return PyErr_NoMemory(), -1;
    for (Py_ssize_t group = 0; group < found; group++)
        if (groups[group].plain) begin[longest - groups[group].count + 1]++, ranked++;
    for (int64_t length = 0; length < longest; length++) begin[length + 1] += begin[length];
    for (Py_ssize_t group = 0; group < found; group++)
        rank[group] = groups[group].plain ? begin[longest - groups[group].count]++ : -1;
    PyMem_RawFree(begin);
    return ranked;
}

static PyObject *new_ints(Py_ssize_t count, int64_t **numbers) {
    PyObject *made = PyByteArray_FromStringAndSize(NULL, 8 * count);
    if (made) *numbers = (int64_t *)PyByteArray_AS_STRING(made);
    return made;
}

/* (items, place, count, slot, stream) as int64 arrays, by rank; items in the order of their group, then of arrival. */
static PyObject *laid_out(const Group *groups, Py_ssize_t found, const int32_t *rank, Py_ssize_t ranked,
                          const int32_t *group_of, Py_ssize_t items) {
    int64_t *column[5];
    PyObject *made[5] = {0}, *result = NULL;
    int64_t total = 0;
    for (Py_ssize_t group = 0; group < found; group++)
        if (rank[group] >= 0) total += groups[group].count;
    for (int i = 0; i < 5; i++)
        if (!(made[i] = new_ints(i ? ranked : total, &column[i]))) goto done;
    for (Py_ssize_t group = 0; group < found; group++) {
        if (rank[group] < 0) continue;
        column[2][rank[group]] = groups[group].count;
        column[3][rank[group]] = groups[group].slot;
        column[4][rank[group]] = groups[group].stream;
    }
    int64_t place = 0;
    for (Py_ssize_t i = 0; i < ranked; i++) column[1][i] = place, place += column[2][i];
    for (Py_ssize_t i = 0; i < items; i++)
        if (group_of[i] >= 0 && rank[group_of[i]] >= 0) column[0][column[1][rank[group_of[i]]]++] = i;
    for (Py_ssize_t i = 0; i < ranked; i++) column[1][i] -= column[2][i];
    result = PyTuple_Pack(5, made[0], made[1], made[2], made[3], made[4]);
done:
    for (int i = 0; i < 5; i++) Py_XDECREF(made[i]);
    return result;
}

static int check_slots(const int64_t *slots, Py_ssize_t count, Py_ssize_t limit) {
    for (Py_ssize_t i = 0; i < count; i++)
        if (slots[i] >= limit) return wrong("a slot lies beyond the rows");
    return 0;
}

static PyObject *lay_out(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer slots, plain, scratch, offsets;
    if (!PyArg_ParseTuple(args, "y*z*w*y*", &slots, &plain, &scratch, &offsets)) return NULL;
    PyObject *result = NULL;
    Py_ssize_t items = slots.len / 8, streams = offsets.len / 8 - 1;
    Group *groups = PyMem_RawMalloc((size_t)(items + 1) * sizeof *groups);
    int32_t *numbers = PyMem_RawMalloc((size_t)(items + 1) * 2 * sizeof *numbers);
    const int64_t *offset = offsets.buf;
    if (!groups || !numbers) {
        PyErr_NoMemory();
    } else if (items > INT32_MAX || streams < 1 || offset[streams] != items || (plain.buf && plain.len != items)) {
        wrong("offsets and marks do not fit the items");
    } else if (check_slots(slots.buf, items, scratch.len / 4) == 0) {
        int32_t *group_of = numbers, *rank = numbers + items;
        Py_ssize_t found = find_groups(slots.buf, items, plain.buf, scratch.buf, offset, groups, group_of);
        Py_ssize_t ranked = rank_groups(groups, found, rank);
        if (ranked >= 0) result = laid_out(groups, found, rank, ranked, group_of, items);
    }
    PyMem_RawFree(groups);
    PyMem_RawFree(numbers);
    PyBuffer_Release(&slots);
    if (plain.buf) PyBuffer_Release(&plain);
    PyBuffer_Release(&scratch);
    PyBuffer_Release(&offsets);
    return result;
}

/* --------------------------------------------------------------------------------------------------- gathering */

/* Copy `size` bytes at `from` of each slot's row. */
static PyObject *take_parts(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer rows, slots, out;
    Py_ssize_t each, from, size;
    if (!PyArg_ParseTuple(args, "y*nnny*w*", &rows, &each, &from, &size, &slots, &out)) return NULL;
    const int64_t *slot = slots.buf;
    Py_ssize_t count = slots.len / 8;
    int good = each > 0 && from >= 0 && size >= 0 && from + size <= each && out.len == count * size;
    for (Py_ssize_t i = 0; good && i < count; i++) good = slot[i] >= 0 && slot[i] < rows.len / each;
    const char *row = rows.buf;
    char *to = out.buf;
    if (good)
        for (Py_ssize_t i = 0; i < count; i++, to += size) {
            if (i + AHEAD < count) fetch_row(row + slot[i + AHEAD] * each + from, size);
            memcpy(to, row + slot[i] * each + from, (size_t)size);
        }
    else
        wrong("the parts do not fit the rows");
    PyBuffer_Release(&rows);
    PyBuffer_Release(&slots);
    PyBuffer_Release(&out);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* Copy what `size` bytes an item are given, for steps first, first + 1, … of each group: out is (steps, groups). */
static PyObject *take_steps(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer source, items, places, out;
    Py_ssize_t size, first, steps;
    if (!PyArg_ParseTuple(args, "y*ny*y*nnw*", &source, &size, &items, &places, &first, &steps, &out)) return NULL;
    const int64_t *item = items.buf, *place = places.buf;
    Py_ssize_t groups = places.len / 8, total = items.len / 8, limit = size > 0 ? source.len / size : 0;
    int good = size > 0 && first >= 0 && steps >= 0 && out.len == steps * groups * size;
    for (Py_ssize_t g = 0; good && g < groups; g++) good = place[g] >= 0 && place[g] + first + steps <= total;
    const char *from = source.buf;
    char *to = out.buf;
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
    PyBuffer_Release(&source);
    PyBuffer_Release(&items);
    PyBuffer_Release(&places);
    PyBuffer_Release(&out);
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
    Py_buffer numbers;
    if (PyObject_GetBuffer(argument, &numbers, PyBUF_SIMPLE) < 0) return NULL;
    int finite = is_finite(&numbers);
    PyBuffer_Release(&numbers);
    return PyBool_FromLong(finite);
}

/* ------------------------------------------------------------------------------------------------- calibrating */

static float within(double number) {
    return (float)(number > FLT_MAX ? FLT_MAX : number < -FLT_MAX ? -FLT_MAX : number);
}

static void ends(const Calibration *kept, float around, float *low, float *high) {
    double one = (double)around - kept->low * kept->scale, other = (double)around + kept->high * kept->scale;
    *low = within(one < other ? one : other);
    *high = within(one < other ? other : one);
}

/* 1 - how often a series that goes on as before has an error of this size or more. */
static float surprise(const Calibration *kept, const Constants *constants, double size) {
    if (!(kept->scale > 0.0)) return size > 0.0 ? 1.0f : 0.0f;
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
    return (float)(1.0 - share);
}

static void learn(Calibration *kept, const Constants *constants, double error) {
    double size = fabs(error);
    if (kept->scale > 0.0) {
        int missed_high = error > kept->high * kept->scale, missed_low = error < -(kept->low * kept->scale);
        kept->high += missed_high ? constants->out : -constants->in;
        kept->low += missed_low ? constants->out : -constants->in;
        double ratio = size / kept->scale;
        for (int i = 0; i < TAILS; i++) kept->tails[i] *= ratio > kept->tails[i] ? constants->up[i] : constants->down[i];
    }
    kept->seen += 1.0;
    double weight = 1.0 / kept->seen;
    if (weight < constants->scale_weight) weight = constants->scale_weight;
    kept->scale += weight * (size - kept->scale);
}

/* The value x scores the prediction before it; returns the score, NaN if there is none yet. */
static float take_label(Calibration *kept, const Constants *constants, float x, float predicted, double *covered,
                        double *given) {
    double error = (double)x - (double)predicted;
    float score = NAN;
    if (kept->seen >= constants->least_seen) {
        float low, high;
        ends(kept, predicted, &low, &high);
        double inside = low <= x && x <= high;
        kept->covered += inside, *covered += inside, *given += 1.0;
        score = surprise(kept, constants, fabs(error));
    }
    learn(kept, constants, error);
    return score;
}

static void give_ends(const Calibration *kept, const Constants *constants, float around, float *low, float *high) {
    *low = *high = NAN;
    if (kept->seen >= constants->least_seen) ends(kept, around, low, high);
}

static PyObject *calibrate(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer kept, fresh, constants, group, flags, x, predicted, y, out, counts;
    if (!PyArg_ParseTuple(args, "w*y*y*y*y*y*y*y*w*w*", &kept, &fresh, &constants, &group, &flags, &x, &predicted, &y,
                          &out, &counts))
        return NULL;
    Py_ssize_t events = flags.len, groups = kept.len / (Py_ssize_t)sizeof(Calibration);
    const int64_t *number = group.buf;
    int good = fresh.len == sizeof(Calibration) && constants.len == sizeof(Constants) && group.len == 8 * events &&
               x.len == 4 * events && predicted.len == 4 * events && y.len == 4 * events &&
               out.len == 4 * EXTRAS * events && counts.len == 16 * groups;
    for (Py_ssize_t i = 0; good && i < events; i++) good = number[i] >= 0 && number[i] < groups;
    Calibration *all = kept.buf;
    float *to = out.buf;
    for (Py_ssize_t i = 0; good && i < events; i++, to += EXTRAS) {
        Calibration *mine = all + number[i];
        double *count = (double *)counts.buf + 2 * number[i];
        int flag = ((const uint8_t *)flags.buf)[i];
        if (flag & BEGINS) memcpy(mine, fresh.buf, sizeof *mine);
        to[2] = NAN;
        if (flag & LABELLED)
            to[2] = take_label(mine, constants.buf, ((const float *)x.buf)[i], ((const float *)predicted.buf)[i],
                               &count[0], &count[1]);
        give_ends(mine, constants.buf, ((const float *)y.buf)[i], &to[0], &to[1]);
    }
    if (!good) wrong("the events do not fit the groups");
    Py_buffer *all_buffers[] = {&kept, &fresh, &constants, &group, &flags, &x, &predicted, &y, &out, &counts};
    for (size_t i = 0; i < sizeof all_buffers / sizeof *all_buffers; i++) PyBuffer_Release(all_buffers[i]);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* --------------------------------------------------------------------------------------------------- absorbing */

/* Where things are, and whom to tell. */
typedef struct {
    Py_ssize_t each, outputs, features, size; /* bytes a row; O, F, D */
    Py_ssize_t output_at, value_at, state_at; /* bytes into a row */
    int target, feature;                      /* which output forecasts which feature; -1: none, nothing is scored */
    Py_ssize_t calibration_at;                /* bytes into a row; 0: not calibrated, and no columns for it */
    int interval, score;                      /* which columns follow the outputs */
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
    scored++;
    memcpy(row + SUMS_AT, sums, sizeof sums);
    memcpy(row + SCORED_AT, &scored, 8);
    tell(layout, tally, absolute, naive, sums[NAIVE_ABSOLUTE], (double)scored);
}

/* One rectangle of a model's answers. */
typedef struct {
    const int64_t *items, *places, *slots, *streams;
    Py_ssize_t batch, first, steps, ends; /* groups from `ends` on have no steps after these */
    const float *values, *outputs, *state;
    const int64_t *times;
    char *rows;
    float *y;
    double *tally;
    Py_ssize_t tally_columns;
} Rectangle;

/* Score the value x of a series that has a prediction of it; returns the score, NaN if there is none. */
static float label(const Layout *layout, char *row, Calibration *kept, const float *x, double *tally) {
    const float *last_output = (const float *)(row + layout->output_at);
    const float *last_value = (const float *)(row + layout->value_at);
    float value = x[layout->feature], predicted = last_output[layout->target];
    score_value(layout, row, value, predicted, last_value[layout->feature], tally);
    if (!layout->calibration_at) return NAN;
    return take_label(kept, layout->constants, value, predicted, &tally[TALLY_COVERED], &tally[TALLY_GIVEN]);
}

/* The columns after the outputs. */
static void write_extras(const Layout *layout, const Calibration *kept, float around, float score, float *to) {
    if (layout->interval) give_ends(kept, layout->constants, around, to, to + 1), to += 2;
    if (layout->score) *to = score;
}

static void absorb_group(const Layout *layout, const Rectangle *rectangle, Py_ssize_t group) {
    char *row = rectangle->rows + rectangle->slots[group] * layout->each;
    const int64_t *item = rectangle->items + rectangle->places[group] + rectangle->first;
    double *tally = rectangle->tally + rectangle->streams[group] * rectangle->tally_columns;
    Py_ssize_t columns = layout->outputs + 2 * layout->interval + layout->score;
    uint64_t steps;
    Calibration kept;
    memcpy(&steps, row + STEPS_AT, 8);
    if (layout->calibration_at) memcpy(&kept, row + layout->calibration_at, sizeof kept);
    float *last_output = (float *)(row + layout->output_at), *last_value = (float *)(row + layout->value_at);
    for (Py_ssize_t step = 0; step < rectangle->steps; step++, steps++) {
        const float *x = rectangle->values + item[step] * layout->features;
        const float *y = rectangle->outputs + (step * rectangle->batch + group) * layout->outputs;
        float *to = rectangle->y + item[step] * columns;
        float score = layout->target >= 0 && steps ? label(layout, row, &kept, x, tally) : NAN;
        for (Py_ssize_t i = 0; i < layout->outputs; i++) to[i] = last_output[i] = y[i];
        for (Py_ssize_t i = 0; i < layout->features; i++) last_value[i] = x[i];
        if (layout->calibration_at)
            write_extras(layout, &kept, last_output[layout->target], score, to + layout->outputs);
    }
    row[REJECTED_AT] = 0;
    memcpy(row + STEPS_AT, &steps, 8);
    memcpy(row + TIME_AT, &rectangle->times[item[rectangle->steps - 1]], 8);
    if (layout->calibration_at) memcpy(row + layout->calibration_at, &kept, sizeof kept);
    if (group >= rectangle->ends)
        memcpy(row + layout->state_at, rectangle->state + group * layout->size, 4 * (size_t)layout->size);
}

/* Whether everything that is to be read and written is there. */
static int check_rectangle(const Layout *layout, const Rectangle *r, Py_ssize_t rows, Py_ssize_t items,
                           Py_ssize_t values, Py_ssize_t streams) {
    if (r->first < 0 || r->steps < 1 || r->ends < 0) return wrong("a rectangle has no steps");
    if (layout->output_at < HEADER_SIZE || layout->value_at < HEADER_SIZE || layout->state_at < HEADER_SIZE ||
        layout->output_at + 4 * layout->outputs > layout->each || layout->value_at + 4 * layout->features > layout->each ||
        layout->state_at + 4 * layout->size > layout->each || layout->target >= layout->outputs ||
        layout->feature >= layout->features || layout->feature < 0 || r->tally_columns < TALLY_BUCKETS + layout->edge_count + 1)
        return wrong("the layout does not fit the rows");
    if ((layout->interval | layout->score) >> 1 || (!layout->calibration_at && (layout->interval || layout->score)))
        return wrong("there are no calibrations for the columns asked for");
    if (layout->calibration_at && (layout->target < 0 || layout->calibration_at < HEADER_SIZE ||
                                   layout->calibration_at + (Py_ssize_t)sizeof(Calibration) > layout->each))
        return wrong("the layout does not fit the rows");
    for (Py_ssize_t group = 0; group < r->batch; group++) {
        if (r->slots[group] < 0 || r->slots[group] >= rows) return wrong("a slot lies beyond the rows");
        if (r->streams[group] < 0 || r->streams[group] >= streams) return wrong("a stream has no tally");
        if (r->places[group] < 0 || r->places[group] + r->first + r->steps > items) return wrong("items are short");
        for (Py_ssize_t step = 0; step < r->steps; step++) {
            int64_t item = r->items[r->places[group] + r->first + step];
            if (item < 0 || item >= values) return wrong("an item lies beyond the values");
        }
    }
    return 0;
}

/* A tuple as `carry_python.Layout` has it. */
static int take_layout(PyObject *tuple, void *to) {
    Layout *layout = to;
    return PyArg_ParseTuple(tuple, "nnnnnnniinii", &layout->each, &layout->outputs, &layout->features, &layout->size,
                            &layout->output_at, &layout->value_at, &layout->state_at, &layout->target,
                            &layout->feature, &layout->calibration_at, &layout->interval, &layout->score);
}

enum { ROWS, CONSTANTS, EDGES, ITEMS, PLACES, SLOTS, STREAMS, VALUES, TIMES, OUTPUTS, STATE, Y, TALLY, BUFFERS };

static PyObject *absorb(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer b[BUFFERS];
    Layout layout;
    Rectangle r;
    if (!PyArg_ParseTuple(args, "w*O&y*y*y*y*y*y*nnny*y*y*y*w*w*", &b[ROWS], take_layout, &layout,
                          &b[CONSTANTS], &b[EDGES], &b[ITEMS], &b[PLACES], &b[SLOTS], &b[STREAMS],
                          &r.first, &r.steps, &r.ends, &b[VALUES], &b[TIMES], &b[OUTPUTS], &b[STATE], &b[Y],
                          &b[TALLY]))
        return NULL;
    int good = layout.each > 0 && layout.outputs > 0 && layout.features > 0 && layout.size >= 0;
    r.batch = b[SLOTS].len / 8;
    Py_ssize_t values = b[TIMES].len / 8;
    good = good && b[PLACES].len == b[SLOTS].len && b[STREAMS].len == b[SLOTS].len &&
           b[VALUES].len == 4 * values * layout.features && b[Y].len == 4 * values * (layout.outputs + 2 * layout.interval + layout.score) &&
           (!layout.calibration_at || b[CONSTANTS].len == sizeof(Constants)) &&
           b[OUTPUTS].len == 4 * r.steps * r.batch * layout.outputs && b[STATE].len == 4 * r.batch * layout.size;
    layout.constants = b[CONSTANTS].buf;
    layout.edges = b[EDGES].buf, layout.edge_count = b[EDGES].len / 8;
    r.tally_columns = TALLY_BUCKETS + layout.edge_count + 1;
    r.items = b[ITEMS].buf, r.places = b[PLACES].buf, r.slots = b[SLOTS].buf, r.streams = b[STREAMS].buf;
    r.values = b[VALUES].buf, r.times = b[TIMES].buf, r.outputs = b[OUTPUTS].buf, r.state = b[STATE].buf;
    r.rows = b[ROWS].buf, r.y = b[Y].buf, r.tally = b[TALLY].buf;
    if (!good) wrong("the arrays of a rectangle do not fit each other");
    good = good && check_rectangle(&layout, &r, b[ROWS].len / layout.each, b[ITEMS].len / 8, values,
                                   b[TALLY].len / 8 / r.tally_columns) == 0;
    if (good)
        for (Py_ssize_t group = 0, next = AHEAD; group < r.batch; group++, next++) {
            if (next < r.batch)
                fetch_row(r.rows + r.slots[next] * layout.each, next < r.ends ? layout.state_at : layout.each);
            absorb_group(&layout, &r, group);
        }
    for (int i = 0; i < BUFFERS; i++) PyBuffer_Release(&b[i]);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------------------------ a single value */

/* Of what `scan_single` finds: see streamlstm/codec_python.py. */
enum { FOUND_TIME = 2, FOUND_SLOT = 5, FOUND_COLUMNS };

/* Copy the state of a value's series to where the model reads it; false after a silence that is too long. */
static PyObject *take_one(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer rows, found, state;
    Py_ssize_t each, state_at;
    long long silence_ms;
    if (!PyArg_ParseTuple(args, "y*nny*Lw*", &rows, &each, &state_at, &found, &silence_ms, &state)) return NULL;
    const int64_t *what = found.buf;
    int good = found.len == 8 * FOUND_COLUMNS && each >= HEADER_SIZE && state_at >= HEADER_SIZE &&
               state_at <= each - state.len && what[FOUND_SLOT] >= 0 && what[FOUND_SLOT] < rows.len / each;
    int heard = 1;
    if (good) {
        const char *row = (const char *)rows.buf + what[FOUND_SLOT] * each;
        int64_t last_ms, silence;
        uint64_t steps;
        memcpy(&last_ms, row + TIME_AT, 8);
        memcpy(&steps, row + STEPS_AT, 8);
        heard = !steps || (!__builtin_sub_overflow(what[FOUND_TIME], last_ms, &silence) && silence <= silence_ms);
        if (heard) memcpy(state.buf, row + state_at, (size_t)state.len);
    } else
        wrong("the row of a value does not hold its state");
    PyBuffer_Release(&rows);
    PyBuffer_Release(&found);
    PyBuffer_Release(&state);
    return good ? PyBool_FromLong(heard) : NULL;
}

/* `absorb` for one value: false, and nothing is touched, if the answer is not finite. */
static PyObject *absorb_one(PyObject *module, PyObject *args) {
    (void)module;
    enum { ROWS, CONSTANTS, EDGES, FOUND, VALUE, OUTPUTS, STATE, Y, TALLY, BUFFERS };
    static const int64_t none = 0;
    Py_buffer b[BUFFERS];
    Layout layout;
    if (!PyArg_ParseTuple(args, "w*O&y*y*y*y*y*y*w*w*", &b[ROWS], take_layout, &layout, &b[CONSTANTS], &b[EDGES],
                          &b[FOUND], &b[VALUE], &b[OUTPUTS], &b[STATE], &b[Y], &b[TALLY]))
        return NULL;
    Py_ssize_t columns = layout.outputs + 2 * layout.interval + layout.score;
    layout.constants = b[CONSTANTS].buf, layout.edges = b[EDGES].buf, layout.edge_count = b[EDGES].len / 8;
    Rectangle r = {.items = &none, .places = &none, .streams = &none, .batch = 1, .steps = 1, .values = b[VALUE].buf,
                   .outputs = b[OUTPUTS].buf, .state = b[STATE].buf, .rows = b[ROWS].buf, .y = b[Y].buf,
                   .tally = b[TALLY].buf, .tally_columns = TALLY_BUCKETS + layout.edge_count + 1};
    int finite = 0;
    int good = layout.each > 0 && layout.outputs > 0 && layout.features > 0 && layout.size >= 0 &&
               b[FOUND].len == 8 * FOUND_COLUMNS && b[VALUE].len == 4 * layout.features && b[Y].len == 4 * columns &&
               (!layout.calibration_at || b[CONSTANTS].len == sizeof(Constants)) &&
               b[OUTPUTS].len == 4 * layout.outputs && b[STATE].len == 4 * layout.size;
    if (good) {
        r.slots = (const int64_t *)b[FOUND].buf + FOUND_SLOT, r.times = (const int64_t *)b[FOUND].buf + FOUND_TIME;
        good = check_rectangle(&layout, &r, b[ROWS].len / layout.each, 1, 1, b[TALLY].len / 8 / r.tally_columns) == 0;
    } else
        wrong("the arrays of a value do not fit each other");
    if (good && (finite = is_finite(&b[OUTPUTS]) && is_finite(&b[STATE]))) absorb_group(&layout, &r, 0);
    for (int i = 0; i < BUFFERS; i++) PyBuffer_Release(&b[i]);
    return good ? PyBool_FromLong(finite) : NULL;
}

static PyMethodDef functions[] = {
    {"lay_out", lay_out, METH_VARARGS, "Items by series, the series with most first."},
    {"take_parts", take_parts, METH_VARARGS, "A part of each slot's row."},
    {"take_steps", take_steps, METH_VARARGS, "What each item of a rectangle has."},
    {"all_finite", all_finite, METH_O, "Whether all of some float32 numbers are finite."},
    {"calibrate", calibrate, METH_VARARGS, "Take values into the calibrations of their series."},
    {"absorb", absorb, METH_VARARGS, "Take a rectangle's answers into the rows."},
    {"take_one", take_one, METH_VARARGS, "The state of a single value's series."},
    {"absorb_one", absorb_one, METH_VARARGS, "Take the answer to a single value into its row."},
    {0},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "streamlstm._carry", "Compiled parts of the plain way.", -1, functions, NULL, NULL, NULL,
    NULL,
};

PyMODINIT_FUNC PyInit__carry(void) { return PyModule_Create(&definition); }
