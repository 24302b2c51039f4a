/* Laying out a batch: which items are stepped together, in which order; see streamlstm/engine/schedule.py. */

#ifndef STREAMLSTM_SCHEDULE_H
#define STREAMLSTM_SCHEDULE_H

#include "../store/resp/_arrays.h"

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

static int has(const Plan *plan, Py_ssize_t item, int mark) { return plan->marks[item] & mark; }

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
    for (Py_ssize_t stream = streams - 1; stream >= 0; stream--) {
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
    if (lay_out_others(plan, made + 5) == 0 && (result = PyTuple_New(14)))
        for (int i = 0; i < 14; i++) PyTuple_SET_ITEM(result, i, made[i]);
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

/* A group of a batch that has nothing out of the ordinary. */
typedef struct {
    int64_t slot;
    int32_t stream, count;
} BareGroup;

/* What such a batch is laid out with: small enough for the processor's first cache, or nearly. */
typedef struct {
    Py_ssize_t items, groups;
    const int64_t *slots;
    BareGroup *group;
    int32_t *group_of, *rank, *place; /* the latter: where a group's next item goes */
} BarePlan;

/* `find_groups` of a batch without marks. */
static int find_bare_groups(BarePlan *plan, int32_t *scratch, const int64_t *offsets) {
    int32_t stream = 0;
    int good = 1;
    for (Py_ssize_t i = 0; i < plan->items; i++) {
        while (i >= offsets[stream + 1]) stream++;
        int64_t slot = plan->slots[i];
        plan->group_of[i] = -1;
        if (slot < 0) continue;
        int32_t number = scratch[slot];
        if (number < 0 || number >= plan->groups || plan->group[number].slot != slot) {
            number = scratch[slot] = (int32_t)plan->groups++;
            plan->group[number] = (BareGroup){slot, stream, 0};
        }
        good &= plan->group[number].stream == stream;
        plan->group[number].count++;
        plan->group_of[i] = number;
    }
    for (Py_ssize_t number = 0; number < plan->groups; number++) scratch[plan->group[number].slot] = -1;
    return good ? 0 : wrong("a slot is of two streams");
}

/* Where the groups of each length begin among all, the longest first; NULL with an exception. */
static int32_t *rank_lengths(const BarePlan *plan, int64_t *longest) {
    *longest = 0;
    for (Py_ssize_t i = 0; i < plan->groups; i++)
        if (plan->group[i].count > *longest) *longest = plan->group[i].count;
    int32_t *begin = PyMem_RawCalloc((size_t)*longest + 2, sizeof *begin);
    if (!begin) return (int32_t *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < plan->groups; i++) begin[*longest - plan->group[i].count + 1]++;
    for (int64_t length = 0; length < *longest; length++) begin[length + 1] += begin[length];
    return begin;
}

/* The plan of a batch without marks whose groups have been found. */
static PyObject *laid_out_bare(BarePlan *plan) {
    PyObject *made[5] = {0}, *result = NULL;
    int64_t *column[5], total = 0, place = 0, longest;
    Py_ssize_t n = plan->groups;
    for (Py_ssize_t i = 0; i < n; i++) total += plan->group[i].count;
    int32_t *begin = rank_lengths(plan, &longest);
    if (!begin || new_columns(made, column, (Py_ssize_t[]){total, n, n, n, n}, 5) < 0) {
        PyMem_RawFree(begin);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        int32_t at = plan->rank[i] = begin[longest - plan->group[i].count]++;
        column[2][at] = plan->group[i].count, column[3][at] = plan->group[i].slot, column[4][at] = plan->group[i].stream;
    }
    PyMem_RawFree(begin);
    for (Py_ssize_t i = 0; i < n; i++) column[1][i] = place, place += column[2][i];
    for (Py_ssize_t i = 0; i < n; i++) plan->place[i] = (int32_t)column[1][plan->rank[i]];
    for (Py_ssize_t i = 0; i < plan->items; i++)
        if (plan->group_of[i] >= 0) column[0][plan->place[plan->group_of[i]]++] = i;
    if ((result = PyTuple_New(5)))
        for (int i = 0; i < 5; i++) PyTuple_SET_ITEM(result, i, made[i]);
    else
        for (int i = 0; i < 5; i++) Py_XDECREF(made[i]);
    return result;
}

/* `lay_out` of a batch without marks, as nearly all are; a third of the time. */
static PyObject *lay_out_bare(const int64_t *slots, Py_ssize_t items, int32_t *scratch, const int64_t *offsets) {
    size_t most = (size_t)items + 1;
    BarePlan plan = {.items = items, .slots = slots, .group = PyMem_RawMalloc(most * sizeof *plan.group)};
    PyObject *result = NULL;
    int32_t *numbers = PyMem_RawMalloc(most * 3 * sizeof *numbers);
    if (plan.group && numbers) {
        plan.group_of = numbers, plan.rank = numbers + items, plan.place = plan.rank + items;
        if (find_bare_groups(&plan, scratch, offsets) == 0) result = laid_out_bare(&plan);
    } else
        PyErr_NoMemory();
    PyMem_RawFree(plan.group);
    PyMem_RawFree(numbers);
    return result;
}

/* `lay_out` of a batch with marks. */
static PyObject *lay_out_marked(Plan *plan, int32_t *scratch, const int64_t *offsets, Py_ssize_t streams) {
    size_t most = (size_t)plan->items + 1;
    PyObject *result = NULL;
    plan->group = PyMem_RawMalloc(most * sizeof *plan->group);
    int32_t *numbers = PyMem_RawMalloc(most * 2 * sizeof *numbers);
    plan->segment = PyMem_RawMalloc(most * sizeof *plan->segment);
    plan->chain = PyMem_RawMalloc(most * sizeof *plan->chain);
    if (plan->group && numbers && plan->segment && plan->chain) {
        plan->group_of = numbers, plan->rank = numbers + plan->items;
        if (find_groups(plan, scratch, offsets) == 0) result = laid_out(plan, offsets, streams);
    } else
        PyErr_NoMemory();
    PyMem_RawFree(plan->group);
    PyMem_RawFree(numbers);
    PyMem_RawFree(plan->segment);
    PyMem_RawFree(plan->chain);
    return result;
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
    Py_ssize_t streams = count_of(&b[OFFSETS]) - 1;
    if (plan.items > INT32_MAX || (plan.marks && count_of(&b[MARKS]) != plan.items))
        wrong("offsets and marks do not fit the items");
    else if (hold_offsets(b[OFFSETS].buf, streams, plan.items) == 0 &&
             hold_slots(plan.slots, plan.items, count_of(&b[SCRATCH])) == 0)
        result = plan.marks ? lay_out_marked(&plan, b[SCRATCH].buf, b[OFFSETS].buf, streams)
                            : lay_out_bare(plan.slots, plan.items, b[SCRATCH].buf, b[OFFSETS].buf);
    release_arrays(b, ARRAYS);
    return result;
}

#endif
