/* Stepping tiles: what the model is asked for, its answers, and what becomes of them, in one call; see
 * streamlstm/engine/kernels_python.py for what it does. Included by _kernels.c. */

/* To make arrays with: numpy's own `empty`, and the dtypes it is given. */
static PyObject *numpy_empty, *numpy_dtypes[TYPES_COUNT];

/* Find them; -1 with an exception if there is no numpy. */
static int find_empty(void) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (!numpy) return -1;
    numpy_empty = PyObject_GetAttrString(numpy, "empty");
    numpy_dtypes[FLOAT32] = PyObject_CallMethod(numpy, "dtype", "s", TYPES[FLOAT32].name);
    numpy_dtypes[INT64] = PyObject_CallMethod(numpy, "dtype", "s", TYPES[INT64].name);
    Py_DECREF(numpy);
    return numpy_empty && numpy_dtypes[FLOAT32] && numpy_dtypes[INT64] ? 0 : -1;
}

/* One call of the model: its rectangle, and what it gave. */
typedef struct {
    Py_ssize_t first, steps, batch, ends;
    PyObject *given[2]; /* outputs and state */
    Py_buffer views[2];
    int held;
} Asked;

/* Groups, the longest first, and what they are stepped with: those of a tile, or of all tiles. */
typedef struct {
    const Layout *layout;
    Rectangle whole; /* all groups; its sizes are each rectangle's in turn */
    const int64_t *lengths;
    PyObject *advance, *calls; /* the latter for tiles of `most` groups and 1, 2, ... steps that all of them have */
    int uses_time;
    Py_ssize_t values; /* how many there are of the batch's */
    Py_ssize_t most, left; /* groups of a tile; those behind this one */
} Tile;

static void release_asked(Asked *asked, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        if (asked[i].held) release_arrays(asked[i].views, 2);
        Py_XDECREF(asked[i].given[0]);
        Py_XDECREF(asked[i].given[1]);
    }
    PyMem_RawFree(asked);
}

/* 0 if groups are the longest first, of a step and more, and all they name is there. */
static int hold_groups(const Tile *tile, Py_ssize_t rows, Py_ssize_t items, Py_ssize_t streams) {
    const Rectangle *whole = &tile->whole;
    for (Py_ssize_t group = 0; group < whole->batch; group++) {
        int64_t length = tile->lengths[group], place = whole->places[group];
        if (length < 1 || (group && length > tile->lengths[group - 1]))
            return wrong("the groups are not the longest first");
        if (length > items || place < 0 || place > items - length) return wrong("items are short, or lie beyond");
        if (whole->slots[group] < 0 || whole->slots[group] >= rows) return wrong("a slot lies beyond the rows");
        if (whole->streams[group] < 0 || whole->streams[group] >= streams) return wrong("a stream has no tally");
        for (const int64_t *item = whole->items + place, *end = item + length; item < end; item++)
            if (*item < 0 || *item >= tile->values) return wrong("an item lies beyond the values");
    }
    return 0;
}

/* The rectangles of a tile's staircase (`staircase.rectangles`), with nothing asked yet; NULL with an exception. */
static Asked *cut_rectangles(const Tile *tile, Py_ssize_t *count) {
    const int64_t *lengths = tile->lengths;
    Py_ssize_t batch = tile->whole.batch, done = 0, most = batch > 0;
    for (Py_ssize_t group = 1; group < batch; group++) most += lengths[group] != lengths[group - 1];
    Asked *asked = PyMem_RawCalloc((size_t)most + 1, sizeof *asked);
    if (!asked) return (Asked *)PyErr_NoMemory();
    for (*count = 0; batch > 0; ++*count) {
        Asked *one = &asked[*count];
        Py_ssize_t length = (Py_ssize_t)lengths[batch - 1];
        one->first = done, one->steps = length - done, one->batch = batch, done = length;
        while (batch > 0 && lengths[batch - 1] == length) batch--;
        one->ends = batch;
    }
    return asked;
}

/* A new array and a view of it; NULL with an exception. */
static PyObject *new_array(PyObject *shape, Type type, Py_buffer *view) {
    const Demand demand = {"a new array", type, ANY, WRITE};
    PyObject *made = shape ? PyObject_CallFunctionObjArgs(numpy_empty, shape, numpy_dtypes[type], NULL) : NULL;
    Py_XDECREF(shape);
    if (made && take_array(made, &demand, view) < 0) Py_CLEAR(made);
    return made;
}

/* What the items of a rectangle have in source, `size` bytes each, as an array of that shape. */
static PyObject *fed(const Tile *tile, const Asked *asked, const void *source, PyObject *shape, Type type) {
    Py_buffer view;
    PyObject *made = new_array(shape, type, &view);
    Py_ssize_t rows = asked->steps * asked->batch;
    if (!made) return NULL;
    PyThreadState *held = let_go(rows);
    copy_steps(source, tile->values, view.len / rows, tile->whole.items,
               (Span){tile->whole.places, asked->batch, asked->first, asked->steps}, view.buf);
    hold_again(held);
    PyBuffer_Release(&view);
    return made;
}

/* The states of a tile's groups, an array (B, D). */
static PyObject *states_of(const Tile *tile) {
    Py_buffer view;
    const Layout *layout = tile->layout;
    PyObject *made = new_array(Py_BuildValue("(nn)", tile->whole.batch, layout->size), FLOAT32, &view);
    if (!made) return NULL;
    PyThreadState *held = let_go(tile->whole.batch);
    copy_parts(tile->whole.rows + layout->state_at, layout->each, tile->whole.slots, tile->whole.batch, 4 * layout->size,
               view.buf);
    hold_again(held);
    PyBuffer_Release(&view);
    return made;
}

/* Hold the answer to a rectangle, the arrays of which are given; 1 if it is finite, 0 if not, -1 with an exception. */
static int hold_answer(const Tile *tile, Asked *asked) {
    static const Demand demands[2] = {{"outputs", FLOAT32, ANY, READ}, {"state", FLOAT32, 2, READ}};
    if (take_arrays(asked->given, demands, asked->views, 2) < 0) return -1;
    asked->held = 1;
    if (!is_answer(&asked->views[0], asked->steps, asked->batch, tile->layout->outputs) ||
        !is_shaped(&asked->views[1], asked->batch, tile->layout->size))
        return wrong("the arrays of a rectangle do not fit each other");
    PyThreadState *held = let_go(asked->batch);
    int finite = is_finite(&asked->views[0]) && is_finite(&asked->views[1]);
    hold_again(held);
    return finite;
}

/* Take the model's answer to a rectangle; as `hold_answer`. */
static int take_answer(const Tile *tile, Asked *asked, PyObject *answer) {
    PyObject *const *given = take_tuple(answer, "answer", 2);
    if (!given) return -1;
    for (int i = 0; i < 2; i++) asked->given[i] = Py_NewRef(given[i]);
    return hold_answer(tile, asked);
}

/* Ask the model for a rectangle; 1 if its answer is finite, 0 if not, -1 with an exception. */
static int ask(const Tile *tile, Asked *asked, PyObject *state) {
    PyObject *x = fed(tile, asked, tile->whole.values,
                      Py_BuildValue("(nnn)", asked->steps, asked->batch, tile->layout->features), FLOAT32);
    PyObject *times = !x ? NULL
                      : tile->uses_time
                          ? fed(tile, asked, tile->whole.times, Py_BuildValue("(nn)", asked->steps, asked->batch), INT64)
                          : Py_NewRef(Py_None);
    PyObject *answer = times ? PyObject_CallFunctionObjArgs(tile->advance, x, state, times, NULL) : NULL;
    int finite = answer ? take_answer(tile, asked, answer) : -1;
    Py_XDECREF(x);
    Py_XDECREF(times);
    Py_XDECREF(answer);
    return finite;
}

enum { CALL_X, CALL_STATE, CALL_TIME, CALL_Y, CALL_NEXT, CALL_STEP, CALL_PARTS, WRITTEN = CALL_Y };

/* Whether the arrays that a call reads are of a rectangle of so many. */
static int fits_call(const Tile *tile, const Asked *asked, const Py_buffer *b) {
    const Layout *layout = tile->layout;
    return b[CALL_X].shape[0] == asked->steps && b[CALL_X].shape[1] == asked->batch &&
           b[CALL_X].shape[2] == layout->features && is_shaped(&b[CALL_STATE], asked->batch, layout->size) &&
           is_shaped(&b[CALL_TIME], asked->steps, asked->batch);
}

/* The call for a tile's first rectangle through arrays that stay where they are; NULL if there is none. */
static PyObject *call_of(const Tile *tile, const Asked *asked) {
    int has_one = asked->batch == tile->most && asked->steps <= PyTuple_GET_SIZE(tile->calls);
    return has_one ? PyTuple_GET_ITEM(tile->calls, asked->steps - 1) : NULL;
}

/* Ask the model for a tile's first rectangle by a call; as `ask`. */
static int ask_by_call(const Tile *tile, Asked *asked, PyObject *call) {
    static const Demand demands[WRITTEN] = {
        {"x", FLOAT32, 3, WRITE}, {"state", FLOAT32, 2, WRITE}, {"time", INT64, 2, WRITE}};
    const Layout *layout = tile->layout;
    const Rectangle *whole = &tile->whole;
    PyObject *const *parts = take_tuple(call, "call", CALL_PARTS), *done = NULL;
    Py_buffer b[WRITTEN];
    if (!parts || take_arrays(parts, demands, b, WRITTEN) < 0) return -1;
    if (fits_call(tile, asked, b)) {
        const Span span = {whole->places, asked->batch, 0, asked->steps};
        PyThreadState *held = let_go(asked->batch);
        copy_parts(whole->rows + layout->state_at, layout->each, whole->slots, asked->batch, 4 * layout->size,
                   b[CALL_STATE].buf);
        copy_steps((const char *)whole->values, tile->values, 4 * layout->features, whole->items, span, b[CALL_X].buf);
        if (tile->uses_time) copy_steps((const char *)whole->times, tile->values, 8, whole->items, span, b[CALL_TIME].buf);
        hold_again(held);
        done = PyObject_CallNoArgs(parts[CALL_STEP]);
    } else
        wrong("the arrays of a call do not fit the tile");
    release_arrays(b, WRITTEN);
    if (!done) return -1;
    Py_DECREF(done);
    asked->given[0] = Py_NewRef(parts[CALL_Y]), asked->given[1] = Py_NewRef(parts[CALL_NEXT]);
    return hold_answer(tile, asked);
}

/* Ask the model for all rectangles, each from the state after the one before; as `ask`. */
static int ask_all(const Tile *tile, Asked *asked, Py_ssize_t count) {
    PyObject *call = call_of(tile, &asked[0]), *state = NULL;
    int finite = call ? ask_by_call(tile, &asked[0], call) : (state = states_of(tile)) ? 1 : -1;
    for (Py_ssize_t i = call != NULL; finite > 0 && i < count; i++) {
        if (i) Py_XSETREF(state, PySequence_GetSlice(asked[i - 1].given[1], 0, asked[i - 1].ends));
        finite = state ? ask(tile, &asked[i], state) : -1;
    }
    Py_XDECREF(state);
    return finite;
}

static void absorb_asked(const Tile *tile, const Asked *asked) {
    Rectangle r = tile->whole;
    r.first = asked->first, r.steps = asked->steps, r.batch = asked->batch, r.ends = asked->ends;
    r.outputs = asked->views[0].buf, r.state = asked->views[1].buf;
    /* Its groups' rows are worked on while those of the next tile come, which are gathered right after. */
    if (!asked->first) r.later = r.slots + r.batch, r.later_count = tile->left < r.batch ? tile->left : r.batch;
    PyThreadState *held = let_go(r.batch);
    absorb_groups(tile->layout, &r);
    hold_again(held);
}

/* Step a tile; 1 once its answers are taken in, 0 if not all are finite, -1 with an exception. */
static int step_one(const Tile *tile) {
    Py_ssize_t count = 0;
    Asked *asked = cut_rectangles(tile, &count);
    if (!asked) return -1;
    int finite = ask_all(tile, asked, count);
    for (Py_ssize_t i = 0; finite > 0 && i < count; i++) absorb_asked(tile, &asked[i]);
    release_asked(asked, count);
    return finite;
}

/* Step all groups, `most` at a time; `done` is how many are. As `step_one`. */
static int step_all(const Tile *all, int64_t *done) {
    Py_ssize_t count = all->whole.batch;
    int finite = 1;
    for (*done = 0; finite > 0 && *done < count;) {
        Tile tile = *all;
        tile.whole.places += *done, tile.whole.slots += *done, tile.whole.streams += *done, tile.lengths += *done;
        tile.whole.batch = count - *done < all->most ? count - *done : all->most;
        tile.left = count - *done - tile.whole.batch;
        finite = step_one(&tile);
        if (finite > 0) *done += tile.whole.batch;
    }
    return finite;
}

/* Take a model as `kernel_demands.ModelCalls` has it; 0, or -1 with an exception. */
static int take_model(PyObject *model, Tile *tile) {
    Py_ssize_t uses_time;
    PyObject *const *parts = take_tuple(model, "model", 3);
    if (!parts || take_sizes(parts + 1, (Py_ssize_t *[]){&uses_time}, 1) < 0) return -1;
    if (!PyTuple_Check(parts[2])) {
        PyErr_SetString(PyExc_TypeError, "calls: a tuple is needed");
        return -1;
    }
    tile->advance = parts[0], tile->uses_time = uses_time != 0, tile->calls = parts[2];
    return 0;
}

static PyObject *step_tiles(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, CONSTANTS, EDGES, ITEMS, VALUES, TIMES, MARKS, Y, TALLY, PLACES, LENGTHS, SLOTS, STREAMS, DONE, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"rows", FLOAT32, 2, WRITE},  {"constants", FLOAT64, 1, READ}, {"edges", FLOAT64, 1, READ},
        {"items", INT64, 1, READ},    {"values", FLOAT32, 2, READ},    {"times_ms", INT64, 1, READ},
        {"marks", UINT8, 1, READ_IF_ANY}, {"y", FLOAT32_OR_FLOAT64, 2, WRITE}, {"tally", FLOAT64, 2, WRITE},
        {"places", INT64, 1, READ},   {"lengths", INT64, 1, READ},     {"slots", INT64, 1, READ},
        {"streams", INT64, 1, READ},  {"done", INT64, 1, WRITE}};
    Py_buffer b[ARRAYS];
    PyObject *arrays[ARRAYS];
    Layout layout;
    Tile tile = {.layout = &layout};
    if (take_count("step_tiles", given, 8) < 0) return NULL;
    arrays[ROWS] = args[0], arrays[DONE] = args[7];
    if (!spread_tuple(args[2], "numbers", 2, 2, arrays + CONSTANTS) ||
        !spread_tuple(args[3], "batch", 6, 6, arrays + ITEMS) ||
        !spread_tuple(args[4], "groups", 4, 4, arrays + PLACES) || take_model(args[5], &tile) < 0 ||
        take_sizes(args + 6, (Py_ssize_t *[]){&tile.most}, 1) < 0 || take_arrays(arrays, demands, b, ARRAYS) < 0)
        return NULL;
    tile.lengths = b[LENGTHS].buf, tile.values = count_of(&b[TIMES]);
    tile.whole = (Rectangle){.items = b[ITEMS].buf, .places = b[PLACES].buf, .slots = b[SLOTS].buf,
                             .streams = b[STREAMS].buf, .batch = count_of(&b[SLOTS]), .values = b[VALUES].buf,
                             .marks = b[MARKS].buf, .times = b[TIMES].buf, .rows = b[ROWS].buf, .y = b[Y].buf,
                             .tally = b[TALLY].buf, .tally_columns = b[TALLY].shape[1]};
    int finite = -1, good = take_layout(args[1], &b[ROWS], &layout) == 0 && hold_width(&b[Y], &layout) == 0;
    if (good && !(take_numbers(&layout, &b[CONSTANTS], &b[EDGES], &b[TALLY]) &&
                  count_of(&b[PLACES]) == tile.whole.batch && count_of(&b[LENGTHS]) == tile.whole.batch &&
                  count_of(&b[STREAMS]) == tile.whole.batch && is_shaped(&b[VALUES], tile.values, layout.features) &&
                  is_shaped(&b[Y], tile.values, layout.columns) && tile.most >= 1 && count_of(&b[DONE]) == 1 &&
                  (!tile.whole.marks || count_of(&b[MARKS]) == tile.values)))
        good = wrong("the arrays of tiles do not fit each other") == 0;
    if (good && hold_groups(&tile, b[ROWS].shape[0], count_of(&b[ITEMS]), b[TALLY].shape[0]) == 0)
        finite = step_all(&tile, b[DONE].buf);
    release_arrays(b, ARRAYS);
    return finite < 0 ? NULL : PyBool_FromLong(finite);
}
