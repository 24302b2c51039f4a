/* Calibrating the intervals and scores of a series: see streamlstm/store/record/conformal.py. */

#ifndef STREAMLSTM_CALIBRATION_H
#define STREAMLSTM_CALIBRATION_H

#include "../store/resp/_arrays.h"

/* What is kept of a series to calibrate its intervals and scores: see streamlstm/store/record/conformal.py. */
enum { TAILS = 9, LABELLED = 1, BEGINS = 2, EXTRAS = 3, MOST_EXTRAS = 6 };
static const double LEAST_TAIL = 1e-9, ODD = 0.99, AFTERMATH = 10.0;
typedef struct {
    double seen, scale, low, high, covered, tails[TAILS], expected, odd, aftermath;
} Calibration;
typedef struct {
    double least_seen, scale_weight, out, in, tails[TAILS], up[TAILS], down[TAILS];
} Constants;

_Static_assert(sizeof(Calibration) == 136, "as it stands in a row");

/* What is no number has one pattern of bits, whichever operation it came from. */
static double canonical(double number) { return isnan(number) ? NAN : number; }

/* What is written, and what values are held against, is a float32 unless numbers are exact. */
static double rounded(double number, int exact) { return exact ? number : (float)number; }

static double within(double number, int exact) {
    return number > FLT_MAX ? FLT_MAX : number >= -FLT_MAX ? rounded(number, exact) : isnan(number) ? NAN : -FLT_MAX;
}

/* The smallest interval that holds both ends and what it is around. */
static void ends(const Calibration *kept, double around, int exact, double *low, double *high) {
    double one = around - kept->low * kept->scale, other = around + kept->high * kept->scale;
    double least = one < other ? one : other, most = one < other ? other : one;
    *low = within(around < least ? around : least, exact);
    *high = within(around > most ? around : most, exact);
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

/* How far a value is from where it may be: its forecast, and after an odd value what that leaves open. */
static double least_error(const Calibration *kept, double x, double error) {
    double size = fabs(error);
    if (kept->aftermath > 0.0) {
        double back = fabs(x - kept->expected), still = fabs(x - kept->odd);
        if (back < size) size = back;
        if (still < size) size = still;
    }
    return size;
}

static void note_odd(Calibration *kept, double score, double x, double predicted) {
    int after = kept->aftermath > 0.0;
    if (score >= ODD) {
        if (!after) kept->expected = predicted;
        kept->odd = x;
        kept->aftermath = AFTERMATH;
    } else if (after)
        kept->aftermath -= 1.0;
}

/* What a value was held against: the prediction before it and the ends of its interval; NaN where there is no score. */
typedef struct {
    double predicted, low, high;
} Against;

static const Against NOTHING = {NAN, NAN, NAN};

/* The value x scores the prediction before it; returns the score, NaN if there is none yet. */
static double take_label(Calibration *kept, const Constants *constants, double x, double predicted, int exact,
                         double *covered, double *given, Against *against) {
    double error = x - predicted, score = NAN;
    *against = NOTHING;
    if (kept->seen >= constants->least_seen) {
        double low, high;
        ends(kept, predicted, exact, &low, &high);
        double inside = low <= x && x <= high;
        kept->covered += inside, *covered += inside, *given += 1.0;
        score = surprise(kept, constants, least_error(kept, x, error));
        if (!isnan(score)) *against = (Against){predicted, low, high};
    }
    learn(kept, constants, error);
    note_odd(kept, score, x, predicted);
    return rounded(score, exact);
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
        Against against;
        to[2] = NAN;
        if (flags[i] & LABELLED)
            to[2] = take_label(mine, b[CONSTANTS].buf, x[i], predicted[i], (int)exact, &count[0], &count[1], &against);
        give_ends(mine, b[CONSTANTS].buf, y[i], (int)exact, &to[0], &to[1]);
    }
    if (!good) wrong("the events do not fit the groups, or numbers are neither exact nor not");
    release_arrays(b, ARRAYS);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

#endif
