/* The compiled codec: see streamlstm/store/resp/codec.py for what it is, streamlstm/store/resp/codec_python.py for what each part does.
 *
 * Arrays come in through the buffer protocol (_arrays.h) and go out as bytes, so that no header but Python's is needed. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "_arrays.h"
#include "_decimal.h"
#include "_fetch.h"
#include "_reply.h"
#include "_shortest.h"
#include "_shortest_double.h"
#include "_table.h"

/* ----------------------------------------------------------------------------------------------------- reading */

/* A buffer that grows, inside the object that is handed out in the end. */
typedef struct {
    PyObject *bytes;
    size_t used, size;
} Buffer;

/* Room for more bytes; NULL with an exception set. The first room is generous: columns of a batch are alike. */
static void *buffer_add(Buffer *buffer, size_t bytes) {
    if (buffer->used + bytes > buffer->size) {
        size_t size = 2 * buffer->size + bytes + 512;
        if (!buffer->bytes) {
            if (!(buffer->bytes = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size))) return NULL;
        } else if (PyByteArray_Resize(buffer->bytes, (Py_ssize_t)size) < 0) {
            return NULL;
        }
        buffer->size = size;
    }
    buffer->used += bytes;
    return PyByteArray_AS_STRING(buffer->bytes) + buffer->used - bytes;
}

/* What a value is: so many numbers, each a float32 or (`exact`) a pair of them, the high parts first. */
typedef struct {
    int features, exact;
} Form;

static int width_of(Form form) { return form.features * (1 + form.exact); }

static int read_value(const char *text, int64_t length, Form form, float *numbers) {
    if (form.features == 1 && !form.exact) { /* as most are: no comma to look for */
        double only;
        int good = read_decimal(text, length, &only);
        if (good > 0) numbers[0] = (float)only;
        return good;
    }
    for (int feature = 0; feature < form.features; feature++) {
        const char *comma = memchr(text, ',', (size_t)length);
        if ((comma != NULL) != (feature < form.features - 1)) return 0;
        int64_t part = comma ? comma - text : length;
        double number;
        int good = read_decimal(text, part, &number);
        if (good <= 0) return good;
        numbers[feature] = (float)number;
        if (form.exact) numbers[form.features + feature] = (float)(number - numbers[feature]);
        text += part + 1, length -= part + 1;
    }
    return 1;
}

/* Digits up to `end`, as many as an id's part may have; a number beyond int64 is its maximum. NULL if there are none. */
static const char *read_part(const char *at, const char *end, int64_t *number) {
    const char *first = at, *safe = end - at > 18 ? at + 18 : end;
    int64_t found = 0;
    for (; at < safe && is_digit(*at); at++) found = 10 * found + (*at - '0');
    for (; at < end && is_digit(*at); at++)
        if (__builtin_mul_overflow(found, 10, &found) || __builtin_add_overflow(found, *at - '0', &found))
            found = INT64_MAX;
    *number = found;
    return at > first && at - first <= 20 ? at : NULL;
}

/* The time of an entry's id, `<ms>` or `<ms>-<sequence>`. */
static int read_time(const char *text, int64_t length, int64_t *time_ms) {
    const char *end = text + length, *at = read_part(text, end, time_ms);
    int64_t sequence;
    if (at && at < end && *at == '-') at = read_part(at + 1, end, &sequence);
    return at == end ? 0 : -1;
}

enum { ID_AT, ID_LENGTH, TIME, ITEMS, NAME_AT, NAME_LENGTH, TEXT_AT, TEXT_LENGTH, SLOT, VALUE, ODD, COLUMNS };

/* Where what is found of the next items goes, and for how many there is room. */
typedef struct {
    int64_t *name_at, *name_length, *text_at, *text_length;
    float *numbers;
    char *odd;
    int64_t left;
} Items;

/* Give back the room that is left. */
static void give_back(Buffer *columns, Form form, Items *items) {
    size_t n = (size_t)items->left;
    for (int column = NAME_AT; column <= TEXT_LENGTH; column++) columns[column].used -= n * 8;
    columns[VALUE].used -= n * (size_t)width_of(form) * sizeof *items->numbers;
    columns[ODD].used -= n;
    items->left = 0;
}

/* Room for so many items; -2 with an exception set. */
static int add_items(Buffer *columns, int64_t count, Form form, Items *items) {
    give_back(columns, form, items);
    size_t n = (size_t)count;
    items->name_at = buffer_add(&columns[NAME_AT], n * 8), items->name_length = buffer_add(&columns[NAME_LENGTH], n * 8);
    items->text_at = buffer_add(&columns[TEXT_AT], n * 8), items->text_length = buffer_add(&columns[TEXT_LENGTH], n * 8);
    items->numbers = buffer_add(&columns[VALUE], n * (size_t)width_of(form) * sizeof *items->numbers);
    items->odd = buffer_add(&columns[ODD], n);
    if (!items->name_at || !items->name_length || !items->text_at || !items->text_length || !items->numbers || !items->odd)
        return -2;
    items->left = count;
    return 0;
}

static int scan_items(Cursor *cursor, Form form, int64_t count, Buffer *columns, Items *items) {
    /* An item takes twelve bytes at least: where it is said that there are more than there can be, one of them is not. */
    int64_t most = (cursor->size - cursor->at) / 12 + 1, room = count < most ? count : most;
    if (room > items->left && add_items(columns, room, form, items) < 0) return -2;
    Items next = *items;
    for (int64_t i = 0; i < count; i++, next.numbers += width_of(form)) {
        if (read_bulk(cursor, &next.name_at[i], &next.name_length[i]) < 0 ||
            read_bulk(cursor, &next.text_at[i], &next.text_length[i]) < 0)
            return -1;
        int good = read_value(cursor->data + next.text_at[i], next.text_length[i], form, next.numbers);
        if (good < 0) return -2;
        next.odd[i] = !good;
        for (int number = 0; !good && number < width_of(form); number++) next.numbers[number] = NAN;
    }
    *items = (Items){next.name_at + count, next.name_length + count, next.text_at + count, next.text_length + count,
                     next.numbers, next.odd + count, next.left - count};
    return 0;
}

/* -1: not a read's reply; -2: an exception is set or memory is short. */
static int scan_entries(Cursor *cursor, Form form, Buffer *columns) {
    int64_t entries, parts, fields, *at, *length, *time_ms, *items;
    if (read_array(cursor, &entries) < 0) return -1;
    if (!entries) return 0;
    /* An entry takes 15 bytes at least; as with items, one of those said beyond is not there. */
    int64_t most = (cursor->size - cursor->at) / 15 + 1, there = entries < most ? entries : most;
    size_t room = 8 * (size_t)there;
    Items next = {.left = 0};
    if (!(at = buffer_add(&columns[ID_AT], room)) || !(length = buffer_add(&columns[ID_LENGTH], room)) ||
        !(time_ms = buffer_add(&columns[TIME], room)) || !(items = buffer_add(&columns[ITEMS], room)) ||
        add_items(columns, there, form, &next) < 0) /* for one of each, as many entries have */
        return -2;
    for (; entries > 0; entries--, at++, length++, time_ms++, items++) {
        if (read_array(cursor, &parts) < 0 || parts != 2 || read_bulk(cursor, at, length) < 0 ||
            read_time(cursor->data + *at, *length, time_ms) < 0 || read_array(cursor, &fields) < 0 || fields % 2)
            return -1;
        *items = fields / 2;
        int problem = fields ? scan_items(cursor, form, fields / 2, columns, &next) : 0;
        if (problem) return problem;
    }
    give_back(columns, form, &next);
    return 0;
}

/* -2 if memory is short. */
static int fill_slots(const Cursor *cursor, const Table *table, int32_t stream, Buffer *columns) {
    size_t bytes = columns[NAME_AT].used;
    if (!bytes) return 0;
    int64_t *slots = buffer_add(&columns[SLOT], bytes);
    if (!slots) return -2;
    table_find_all(table, stream, cursor->data, (const int64_t *)PyByteArray_AS_STRING(columns[NAME_AT].bytes),
                   (const int64_t *)PyByteArray_AS_STRING(columns[NAME_LENGTH].bytes), bytes / 8, slots);
    return 0;
}

static PyObject *columns_to_tuple(PyObject *key, Buffer *columns) {
    PyObject *tuple = PyTuple_New(1 + COLUMNS);
    if (!tuple) return NULL;
    PyTuple_SET_ITEM(tuple, 0, Py_NewRef(key));
    for (int i = 0; i < COLUMNS; i++) {
        if (!columns[i].bytes) columns[i].bytes = PyByteArray_FromStringAndSize(NULL, 0);
        if (!columns[i].bytes || PyByteArray_Resize(columns[i].bytes, (Py_ssize_t)columns[i].used) < 0) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, 1 + i, Py_NewRef(columns[i].bytes));
    }
    return tuple;
}

static PyObject *scan_stream(Cursor *cursor, const Table *table, PyObject *streams, Form form) {
    int64_t parts, at, length;
    PyObject *key = NULL, *number, *result = NULL;
    Buffer columns[COLUMNS] = {{0}};
    if (read_array(cursor, &parts) < 0 || parts != 2 || read_bulk(cursor, &at, &length) < 0) goto malformed;
    key = PyBytes_FromStringAndSize(cursor->data + at, (Py_ssize_t)length);
    if (!key) goto done;
    number = PyDict_GetItemWithError(streams, key);
    if (!number) {
        if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, key);
        goto done;
    }
    int32_t stream = take_stream(number);
    if (stream < 0) goto done;
    int problem = scan_entries(cursor, form, columns);
    if (!problem) problem = fill_slots(cursor, table, stream, columns);
    if (problem == -1) goto malformed;
    if (problem == -2) {
        if (!PyErr_Occurred()) PyErr_NoMemory();
        goto done;
    }
    result = columns_to_tuple(key, columns);
    goto done;
malformed:
    PyErr_Format(PyExc_ValueError, "not a read's reply at byte %zd", cursor->at);
done:
    Py_XDECREF(key);
    for (int i = 0; i < COLUMNS; i++) Py_XDECREF(columns[i].bytes);
    return result;
}

/* What both ways to scan are given: a reply, a table and the streams' numbers. */
static int take_reply(PyObject *const *args, Cursor *cursor) {
    if (take_bytes(args[0], "reply", &cursor->data, &cursor->size) < 0) return -1;
    cursor->at = 0;
    if (PyObject_TypeCheck(args[1], table_type) && PyDict_Check(args[2])) return 0;
    PyErr_SetString(PyExc_TypeError, "a table and a dictionary of streams are needed");
    return -1;
}

static PyObject *scan_read(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    Cursor cursor;
    Py_ssize_t features, exact;
    int64_t count;
    if (take_count("scan_read", given, 5) < 0 || take_reply(args, &cursor) < 0 ||
        take_sizes(args + 3, (Py_ssize_t *[]){&features, &exact}, 2) < 0)
        return NULL;
    if (features < 1 || features > INT_MAX / 2 || exact < 0 || exact > 1)
        return wrong("a value has a number of features"), NULL;
    Form form = {(int)features, (int)exact};
    if (read_array(&cursor, &count) < 0) return wrong("not a read's reply"), NULL;
    PyObject *found = PyList_New(0);
    while (found && count-- > 0) {
        PyObject *stream = scan_stream(&cursor, (Table *)args[1], args[2], form);
        if (!stream || PyList_Append(found, stream) < 0) Py_CLEAR(found);
        Py_XDECREF(stream);
    }
    if (found && cursor.at != cursor.size) {
        Py_CLEAR(found);
        PyErr_Format(PyExc_ValueError, "not a read's reply: it goes on at byte %zd", cursor.at);
    }
    return found;
}

/* What scan_live tells of each of n items, n numbers side by side. */
enum { LIVE_ID_AT, LIVE_ID_LENGTH, LIVE_TIME, LIVE_NAME_AT, LIVE_NAME_LENGTH, LIVE_SLOT, LIVE_COLUMNS };

/* Read an entry with one plain value; `found` has its numbers, so many apart. 1 if it is one, 0 if not, -1 on error. */
static int scan_live_entry(Cursor *cursor, Form form, int64_t *found, int64_t apart, float *value) {
    int64_t parts, fields, text_at, text_length;
    if (read_array(cursor, &parts) < 0 || parts != 2 ||
        read_bulk(cursor, &found[LIVE_ID_AT * apart], &found[LIVE_ID_LENGTH * apart]) < 0 ||
        read_time(cursor->data + found[LIVE_ID_AT * apart], found[LIVE_ID_LENGTH * apart], &found[LIVE_TIME * apart]) < 0 ||
        read_array(cursor, &fields) < 0 || fields != 2 ||
        read_bulk(cursor, &found[LIVE_NAME_AT * apart], &found[LIVE_NAME_LENGTH * apart]) < 0 ||
        read_bulk(cursor, &text_at, &text_length) < 0)
        return 0;
    return read_value(cursor->data + text_at, text_length, form, value);
}

/* How many steps a call of the model has for values of these series: 1 if all are different, as many as there are values if
 * all are of one; 0 if some are. */
static int64_t live_steps(const int64_t *slot, int64_t count) {
    int64_t equal = 0;
    for (int64_t i = 1; i < count; i++)
        for (int64_t j = 0; j < i; j++) equal += slot[i] == slot[j];
    return !equal ? 1 : equal == count * (count - 1) / 2 ? count : 0;
}

/* How many entries the rest of the reply has, and the steps of the model's call for them, if each is one plain value of a
 * series in the table, and they are at most so many; 0 if not, -1 on error. */
static int64_t scan_live_entries(Cursor *cursor, const Table *table, int32_t stream, Form form, int64_t most,
                                 int64_t *found, float *values, int64_t *steps) {
    int64_t count;
    if (read_array(cursor, &count) < 0 || count < 1 || count > most) return 0;
    for (int64_t i = 0; i < count; i++) {
        int good = scan_live_entry(cursor, form, found + i, count, values + i * width_of(form));
        if (good <= 0) return good;
    }
    if (cursor->at != cursor->size) return 0;
    int64_t *slot = found + LIVE_SLOT * count;
    table_find_all(table, stream, cursor->data, found + LIVE_NAME_AT * count, found + LIVE_NAME_LENGTH * count,
                   (size_t)count, slot);
    for (int64_t i = 0; i < count; i++)
        if (slot[i] == NO_SLOT) return 0;
    *steps = live_steps(slot, count);
    return *steps ? count : 0;
}

static PyObject *scan_live(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { FOUND, VALUES, ARRAYS };
    static const Demand demands[ARRAYS] = {{"found", INT64, 1, WRITE}, {"values", FLOAT32, ANY, WRITE}};
    Py_buffer b[ARRAYS];
    Cursor cursor;
    Py_ssize_t exact;
    if (take_count("scan_live", given, 6) < 0 || take_reply(args, &cursor) < 0 ||
        take_sizes(args + 5, (Py_ssize_t *[]){&exact}, 1) < 0 ||
        take_arrays(args + 3, demands, b, ARRAYS) < 0)
        return NULL;
    PyObject *key = NULL, *number;
    int64_t streams, parts, at, length, steps = 0, good = 0;
    Py_ssize_t most = count_of(&b[FOUND]) / LIVE_COLUMNS, width = most ? count_of(&b[VALUES]) / most : 0;
    if (!most || most * LIVE_COLUMNS != count_of(&b[FOUND]) || exact < 0 || exact > 1 || width < 1 || width > INT_MAX ||
        most * width != count_of(&b[VALUES]) || width % (1 + exact)) {
        good = wrong("no room for what is found");
    } else if (read_array(&cursor, &streams) == 0 && streams == 1 && read_array(&cursor, &parts) == 0 && parts == 2 &&
               read_bulk(&cursor, &at, &length) == 0) {
        key = PyBytes_FromStringAndSize(cursor.data + at, (Py_ssize_t)length);
        number = key ? PyDict_GetItemWithError(args[2], key) : NULL;
        int32_t stream = number ? take_stream(number) : -1;
        if (stream >= 0)
            good = scan_live_entries(&cursor, (Table *)args[1], stream, (Form){(int)(width / (1 + exact)), (int)exact},
                                     most, b[FOUND].buf, b[VALUES].buf, &steps);
        else if (PyErr_Occurred())
            good = -1;
    }
    release_arrays(b, ARRAYS);
    if (good > 0) return Py_BuildValue("Nnn", key, (Py_ssize_t)good, (Py_ssize_t)steps);
    Py_XDECREF(key);
    if (good < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *skip_replies(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    static const Demand demand = {"data", UINT8, 1, READ};
    Py_buffer data;
    Py_ssize_t at, left;
    if (take_count("skip_replies", given, 3) < 0 || take_sizes(args + 1, (Py_ssize_t *[]){&at, &left}, 2) < 0 ||
        take_array(args[0], &demand, &data) < 0)
        return NULL;
    Cursor cursor = {data.buf, data.len, at};
    int64_t elements = left;
    int good = at >= 0 && at <= data.len && left >= 0 ? skip_elements(&cursor, &elements) : -1;
    PyBuffer_Release(&data);
    if (good < 0) return PyErr_Format(PyExc_ValueError, "not a reply at byte %zd", (Py_ssize_t)cursor.at);
    return Py_BuildValue("nL", (Py_ssize_t)cursor.at, (long long)elements);
}

/* ----------------------------------------------------------------------------------------------------- packing */

static inline int digits_of(uint64_t number) {
    int digits = 1;
    while (number >= 10) number /= 10, digits++;
    return digits;
}

static inline char *write_number(char *to, char kind, uint64_t number) {
    *to++ = kind;
    if (number < 100) { /* as nearly all lengths are */
        if (number >= 10) *to++ = (char)('0' + number / 10);
        *to++ = (char)('0' + number % 10);
        *to++ = '\r', *to++ = '\n';
        return to;
    }
    int digits = digits_of(number);
    for (int i = digits - 1; i >= 0; i--) to[i] = (char)('0' + number % 10), number /= 10;
    to += digits;
    *to++ = '\r', *to++ = '\n';
    return to;
}

/* Of an argument; its length is at most that of something in memory. */
static Py_ssize_t bulk_size(int64_t length) { return 5 + digits_of((uint64_t)length) + (Py_ssize_t)length; }

/* Copy a text; most are a few bytes, which two copies of a fixed size take that may overlap. */
static inline void copy_text(char *to, const char *text, size_t length) {
    if (length > 16) {
        memcpy(to, text, length);
    } else if (length >= 8) {
        uint64_t head, tail;
        memcpy(&head, text, 8), memcpy(&tail, text + length - 8, 8);
        memcpy(to, &head, 8), memcpy(to + length - 8, &tail, 8);
    } else if (length >= 4) {
        uint32_t head, tail;
        memcpy(&head, text, 4), memcpy(&tail, text + length - 4, 4);
        memcpy(to, &head, 4), memcpy(to + length - 4, &tail, 4);
    } else {
        for (size_t i = 0; i < length; i++) to[i] = text[i];
    }
}

static inline char *write_bulk(char *to, const char *text, int64_t length) {
    to = write_number(to, '$', (uint64_t)length);
    copy_text(to, text, (size_t)length);
    to += length;
    *to++ = '\r', *to++ = '\n';
    return to;
}

/* Pieces of a stretch of bytes: a tuple (bytes, places, lengths). */
typedef struct {
    const char *data;
    Py_buffer views[2];
    const int64_t *at, *length;
    Py_ssize_t count;
    int held;
} Texts;

static void texts_release(Texts *texts) {
    if (texts->held) release_arrays(texts->views, 2);
}

static int texts_take(PyObject *tuple, Texts *texts) {
    static const Demand demands[2] = {{"places", INT64, 1, READ}, {"lengths", INT64, 1, READ}};
    Py_ssize_t size;
    texts->held = 0;
    PyObject *const *parts = take_tuple(tuple, "texts", 3);
    if (!parts || take_bytes(parts[0], "texts", &texts->data, &size) < 0 ||
        take_arrays(parts + 1, demands, texts->views, 2) < 0)
        return -1;
    texts->held = 1;
    texts->at = texts->views[0].buf, texts->length = texts->views[1].buf;
    texts->count = count_of(&texts->views[0]);
    int good = count_of(&texts->views[1]) == texts->count;
    for (Py_ssize_t i = 0; good && i < texts->count; i++)
        good = texts->at[i] >= 0 && texts->length[i] >= 0 && texts->at[i] <= size &&
               texts->length[i] <= size - texts->at[i];
    return good ? 0 : wrong("places and lengths do not lie within the bytes");
}

/* Add what all the pieces take as arguments; 0 if the sum fits. */
static int texts_add_sizes(const Texts *texts, Py_ssize_t *total) {
    int beyond = 0; /* places may overlap, so that the pieces are more than there is memory */
    for (Py_ssize_t i = 0; i < texts->count; i++) beyond |= add_size(total, bulk_size(texts->length[i]));
    return beyond;
}

/* Which slots a table has for series of a stream, int64 (n,) as bytes. */
static PyObject *find_slots(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    Texts names;
    if (take_count("find_slots", given, 3) < 0) return NULL;
    if (!PyObject_TypeCheck(args[0], table_type)) {
        PyErr_SetString(PyExc_TypeError, "a table is needed");
        return NULL;
    }
    int32_t stream = take_stream(args[1]);
    if (stream < 0) return NULL;
    PyObject *slots = NULL;
    if (texts_take(args[2], &names) == 0 && (slots = PyByteArray_FromStringAndSize(NULL, 8 * names.count)))
        table_find_all((Table *)args[0], stream, names.data, names.at, names.length, (size_t)names.count,
                       (int64_t *)PyByteArray_AS_STRING(slots));
    texts_release(&names);
    return slots;
}

static PyObject *new_bytes(Py_ssize_t size, int beyond) {
    return beyond ? PyErr_NoMemory() : PyBytes_FromStringAndSize(NULL, size);
}

/* The size of all commands; -1 with an exception if the counts are not those of the fields, or it fits nowhere. */
static Py_ssize_t entries_size(Py_ssize_t head, const Texts *ids, const int64_t *counts, const Texts *fields,
                               const Texts *texts) {
    Py_ssize_t left = fields->count, size = 0;
    int beyond = 0;
    for (Py_ssize_t i = 0; i < ids->count; i++) {
        if (counts[i] < 0 || counts[i] > left) return wrong("counts do not add up to the fields");
        left -= counts[i];
        beyond |= add_size(&size, 3 + digits_of((uint64_t)(3 + 2 * counts[i]))) | add_size(&size, head);
    }
    if (left) return wrong("counts do not add up to the fields");
    beyond |= texts_add_sizes(ids, &size) | texts_add_sizes(fields, &size) | texts_add_sizes(texts, &size);
    if (!beyond) return size;
    PyErr_NoMemory();
    return -1;
}

static PyObject *pack_entries(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    static const Demand demand = {"counts", INT64, 1, READ};
    const char *head;
    Py_ssize_t head_size;
    Py_buffer counted;
    PyObject *result = NULL;
    if (take_count("pack_entries", given, 5) < 0 || take_bytes(args[0], "head", &head, &head_size) < 0 ||
        take_array(args[2], &demand, &counted) < 0)
        return NULL;
    Texts ids = {.held = 0}, fields = {.held = 0}, texts = {.held = 0};
    if (texts_take(args[1], &ids) < 0 || texts_take(args[3], &fields) < 0 || texts_take(args[4], &texts) < 0)
        goto done;
    const int64_t *counts = counted.buf;
    if (count_of(&counted) != ids.count || fields.count != texts.count) {
        wrong("counts do not add up to the fields");
        goto done;
    }
    Py_ssize_t size = entries_size(head_size, &ids, counts, &fields, &texts), item = 0;
    if (size < 0 || !(result = PyBytes_FromStringAndSize(NULL, size))) goto done;
    char *to = PyBytes_AS_STRING(result);
    for (Py_ssize_t i = 0; i < ids.count; i++) {
        to = write_number(to, '*', (uint64_t)(3 + 2 * counts[i]));
        memcpy(to, head, (size_t)head_size);
        to = write_bulk(to + head_size, ids.data + ids.at[i], ids.length[i]);
        for (int64_t left = counts[i]; left > 0; left--, item++) {
            to = write_bulk(to, fields.data + fields.at[item], fields.length[item]);
            to = write_bulk(to, texts.data + texts.at[item], texts.length[item]);
        }
    }
done:
    texts_release(&ids), texts_release(&fields), texts_release(&texts);
    PyBuffer_Release(&counted);
    return result;
}

/* As much as the C library always asks the system for anew. Such memory is emptied page by page as it is touched, which takes four
 * times as long as what is written there; with large pages a quarter of that. */
enum { FRESH_BYTES = 32 << 20, LARGE_PAGE = 2 << 20 };
static void wish_for_large_pages(PyObject *bytes) {
#ifdef MADV_HUGEPAGE
    if (PyBytes_GET_SIZE(bytes) < FRESH_BYTES) return;
    uintptr_t begin = (uintptr_t)PyBytes_AS_STRING(bytes), end = begin + (size_t)PyBytes_GET_SIZE(bytes);
    begin = (begin + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE, end = end / LARGE_PAGE * LARGE_PAGE;
    (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)bytes;
#endif
}

/* Names, and of each the row of words that its slot has, in turn. */
static PyObject *pack_records(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { ROWS, SLOTS, ARRAYS };
    static const Demand demands[ARRAYS] = {{"rows", FLOAT32, 2, READ}, {"slots", INT64, 1, READ}};
    Py_buffer b[ARRAYS];
    PyObject *result = NULL;
    Py_ssize_t size;
    if (take_count("pack_records", given, 3) < 0 || take_arrays(args + 1, demands, b, ARRAYS) < 0) return NULL;
    Py_ssize_t each = row_bytes(&b[ROWS]);
    Texts names = {.held = 0};
    if (texts_take(args[0], &names) < 0) goto done;
    const int64_t *slot = b[SLOTS].buf;
    int good = count_of(&b[SLOTS]) == names.count;
    for (Py_ssize_t i = 0; good && i < names.count; i++) good = slot[i] >= 0 && slot[i] < b[ROWS].shape[0];
    if (!good) {
        wrong("every name needs the slot of a row");
        goto done;
    }
    int beyond = multiply_sizes(names.count, bulk_size(each), &size) || texts_add_sizes(&names, &size);
    if (!(result = new_bytes(size, beyond))) goto done;
    wish_for_large_pages(result);
    char *to = PyBytes_AS_STRING(result);
    const char *row = b[ROWS].buf;
    for (Py_ssize_t i = 0; i < names.count; i++) {
        if (i + AHEAD < names.count) fetch_row(row + slot[i + AHEAD] * each, each);
        to = write_bulk(to, names.data + names.at[i], names.length[i]);
        to = write_bulk(to, row + slot[i] * each, each);
    }
done:
    texts_release(&names);
    release_arrays(b, ARRAYS);
    return result;
}

/* Some numbers of `each` bytes, and commas between them; NULL with an exception if one is infinite. */
static char *write_row(char *to, const void *numbers, Py_ssize_t each, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        if (i) *to++ = ',';
        to = each == 4 ? write_shortest(to, ((const float *)numbers)[i])
                       : write_shortest_double(to, ((const double *)numbers)[i]);
        if (__builtin_expect(!to, 0)) {
            if (!PyErr_Occurred()) wrong("an infinite number has no text");
            return NULL;
        }
    }
    return to;
}

/* Room that the text of a number of `each` bytes and a comma need at most. */
static Py_ssize_t text_max(Py_ssize_t each) { return each == 4 ? SHORTEST_MAX : SHORTEST_DOUBLE_MAX; }

/* Fixed parts of a flight of live values. */
enum { BEGIN, ADD, META, COUNT, END, PIECES };
typedef struct {
    const char *data[PIECES];
    Py_ssize_t size[PIECES];
} Pieces;

static int take_pieces(PyObject *tuple, Pieces *pieces) {
    PyObject *const *found = take_tuple(tuple, "pieces", PIECES);
    for (int i = 0; found && i < PIECES; i++)
        if (take_bytes(found[i], "pieces", &pieces->data[i], &pieces->size[i]) < 0) return -1;
    return found ? 0 : -1;
}

static char *write_piece(char *to, const Pieces *pieces, int piece) {
    memcpy(to, pieces->data[piece], (size_t)pieces->size[piece]);
    return to + pieces->size[piece];
}

/* Whether so many places and lengths lie within so many bytes. */
static int lie_within(Py_ssize_t size, const int64_t *at, const int64_t *length, Py_ssize_t count) {
    int good = 1;
    for (Py_ssize_t i = 0; good && i < count; i++)
        good = at[i] >= 0 && length[i] >= 0 && at[i] <= size && length[i] <= size - at[i];
    return good;
}

/* How many entries are answered, as text; its length, or -1 with an exception. */
static int write_answered(PyObject *number, char to[24]) {
    unsigned long long answered = PyLong_AsUnsignedLongLong(number);
    if (answered != ULLONG_MAX || !PyErr_Occurred()) return snprintf(to, 24, "%llu", answered);
    if (PyErr_ExceptionMatches(PyExc_OverflowError)) wrong("so many entries cannot be answered");
    return -1;
}

/* What the flight of live values is made of. */
typedef struct {
    const char *reply;
    const int64_t *found; /* as scan_live gives it */
    Py_ssize_t entries, records; /* the first so many entries' series have their records written */
    Py_buffer *rows, *numbers;
    Py_ssize_t told; /* numbers of each row that are written */
    Pieces pieces;
    char count[24]; /* how many entries are answered */
    int count_length; /* 0: the position is not moved */
} LiveFlight;

static const int64_t *live(const LiveFlight *flight, int column) { return flight->found + column * flight->entries; }

/* Room for all of it at most, but the text of a row of numbers, which needs as much as `room`; nonzero if that fits nowhere. */
static int live_size(const LiveFlight *flight, Py_ssize_t *most, Py_ssize_t *room) {
    Py_ssize_t each = bulk_size(row_bytes(flight->rows));
    int beyond = multiply_sizes(flight->told, text_max(flight->numbers->itemsize), room);
    *most = 24 + bulk_size(flight->count_length) + bulk_size(live(flight, LIVE_ID_LENGTH)[flight->entries - 1]);
    for (int i = 0; i < PIECES; i++) beyond |= i == ADD ? 0 : add_size(most, flight->pieces.size[i]);
    for (Py_ssize_t i = 0; i < flight->entries; i++) {
        Py_ssize_t name = bulk_size(live(flight, LIVE_NAME_LENGTH)[i]), id = bulk_size(live(flight, LIVE_ID_LENGTH)[i]);
        beyond |= add_size(most, name) | add_size(most, id) | add_size(most, flight->pieces.size[ADD]);
        beyond |= beyond || add_size(most, bulk_size(*room));
        if (i < flight->records) beyond |= add_size(most, name) | add_size(most, each);
    }
    return beyond;
}

/* Write all of it; `text` is room for the text of a row of numbers. NULL with an exception if one is infinite. */
static char *write_live(const LiveFlight *flight, char *to, char *text) {
    const int64_t *id_at = live(flight, LIVE_ID_AT), *id_length = live(flight, LIVE_ID_LENGTH);
    const int64_t *name_at = live(flight, LIVE_NAME_AT), *name_length = live(flight, LIVE_NAME_LENGTH);
    const int64_t *slot = live(flight, LIVE_SLOT);
    Py_ssize_t each = row_bytes(flight->rows), last = flight->entries - 1;
    const char *reply = flight->reply;
    to = write_number(to, '*', (uint64_t)(2 + 2 * flight->records));
    to = write_piece(to, &flight->pieces, BEGIN);
    for (Py_ssize_t i = 0; i < flight->records; i++) {
        to = write_bulk(to, reply + name_at[i], name_length[i]);
        to = write_bulk(to, (const char *)flight->rows->buf + slot[i] * each, each);
    }
    for (Py_ssize_t i = 0; i < flight->entries; i++) {
        const char *numbers = (const char *)flight->numbers->buf + i * row_bytes(flight->numbers);
        char *text_end = write_row(text, numbers, flight->numbers->itemsize, flight->told);
        if (!text_end) return NULL;
        to = write_piece(to, &flight->pieces, ADD);
        to = write_bulk(to, reply + id_at[i], id_length[i]);
        to = write_bulk(to, reply + name_at[i], name_length[i]);
        to = write_bulk(to, text, text_end - text);
    }
    if (!flight->count_length) return to;
    to = write_piece(to, &flight->pieces, META);
    to = write_bulk(to, reply + id_at[last], id_length[last]);
    to = write_piece(to, &flight->pieces, COUNT);
    to = write_bulk(to, flight->count, flight->count_length);
    return write_piece(to, &flight->pieces, END);
}

/* Whether what was found lies within the reply and the rows, and there are numbers for all of it. */
static int holds_live(const LiveFlight *flight, const Py_buffer *found, Py_ssize_t reply_size) {
    Py_ssize_t n = flight->entries;
    if (found->shape[0] != LIVE_COLUMNS || n < 1 || flight->records < 1 || flight->records > n ||
        flight->numbers->shape[0] != n || flight->told < 1 || flight->told > flight->numbers->shape[1] ||
        !lie_within(reply_size, live(flight, LIVE_ID_AT), live(flight, LIVE_ID_LENGTH), n) ||
        !lie_within(reply_size, live(flight, LIVE_NAME_AT), live(flight, LIVE_NAME_LENGTH), n))
        return 0;
    for (Py_ssize_t i = 0; i < flight->records; i++)
        if (live(flight, LIVE_SLOT)[i] < 0 || live(flight, LIVE_SLOT)[i] >= flight->rows->shape[0]) return 0;
    return 1;
}

/* The whole flight of live values, or what it begins with. */
static PyObject *pack_live(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    enum { FOUND, ROWS, NUMBERS, ARRAYS };
    static const Demand demands[ARRAYS] = {
        {"found", INT64, 2, READ}, {"rows", FLOAT32, 2, READ}, {"numbers", FLOAT32_OR_FLOAT64, 2, READ}};
    Py_buffer b[ARRAYS];
    LiveFlight flight;
    Py_ssize_t reply_size, most, room, all;
    if (take_count("pack_live", given, 8) < 0 || take_bytes(args[0], "reply", &flight.reply, &reply_size) < 0 ||
        take_sizes(args + 4, (Py_ssize_t *[]){&flight.told, &flight.records}, 2) < 0 ||
        take_pieces(args[7], &flight.pieces) < 0)
        return NULL;
    flight.count_length = args[6] == Py_None ? 0 : write_answered(args[6], flight.count);
    if (flight.count_length < 0 || take_arrays(args + 1, demands, b, ARRAYS) < 0) return NULL;
    flight.found = b[FOUND].buf, flight.entries = b[FOUND].shape[1], flight.rows = &b[ROWS], flight.numbers = &b[NUMBERS];
    PyObject *result = NULL;
    if (!holds_live(&flight, &b[FOUND], reply_size)) {
        wrong("what was found does not lie within the reply and the rows");
    } else { /* a text is written behind everything else first: its length stands before it */
        int beyond = live_size(&flight, &most, &room) || __builtin_add_overflow(most, room, &all);
        if ((result = new_bytes(all, beyond))) {
            char *start = PyBytes_AS_STRING(result), *end = write_live(&flight, start, start + most);
            if (end)
                _PyBytes_Resize(&result, end - start);
            else
                Py_CLEAR(result);
        }
    }
    release_arrays(b, ARRAYS);
    return result;
}

/* Rows of numbers, finite or NaN, as texts, commas between them: (bytes, places, lengths). */
static PyObject *write_numbers(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    static const Demand demand = {"numbers", FLOAT32_OR_FLOAT64, ANY, READ};
    Py_buffer numbers;
    Py_ssize_t columns, room;
    if (take_count("write_numbers", given, 2) < 0 || take_sizes(args + 1, (Py_ssize_t *[]){&columns}, 1) < 0 ||
        take_array(args[0], &demand, &numbers) < 0)
        return NULL;
    PyObject *result = NULL, *data = NULL, *places = NULL, *lengths = NULL;
    if (columns < 1 || count_of(&numbers) % columns) {
        wrong("the numbers do not fill their rows");
        goto done;
    }
    Py_ssize_t count = count_of(&numbers) / columns;
    int beyond = multiply_sizes(count_of(&numbers), text_max(numbers.itemsize), &room);
    data = new_bytes(room, beyond);
    places = PyBytes_FromStringAndSize(NULL, 8 * count);
    lengths = PyBytes_FromStringAndSize(NULL, 8 * count);
    if (!data || !places || !lengths) goto done;
    const char *number = numbers.buf;
    char *begin = PyBytes_AS_STRING(data), *to = begin;
    int64_t *at = (int64_t *)PyBytes_AS_STRING(places), *length = (int64_t *)PyBytes_AS_STRING(lengths);
    for (Py_ssize_t i = 0; i < count; i++, number += columns * numbers.itemsize) {
        at[i] = to - begin;
        if (!(to = write_row(to, number, numbers.itemsize, columns))) goto done;
        length[i] = to - begin - at[i];
    }
    if (_PyBytes_Resize(&data, to - begin) < 0) goto done;
    result = PyTuple_Pack(3, data, places, lengths);
done:
    Py_XDECREF(data);
    Py_XDECREF(places);
    Py_XDECREF(lengths);
    PyBuffer_Release(&numbers);
    return result;
}

static PyMethodDef functions[] = {
    {"scan_read", FUNCTION(scan_read), METH_FASTCALL, "Take apart the whole reply of an XREAD."},
    {"find_slots", FUNCTION(find_slots), METH_FASTCALL, "Which slots a table has for series of a stream."},
    {"scan_live", FUNCTION(scan_live), METH_FASTCALL, "Take apart the reply of an XREAD that brings live values."},
    {"skip_replies", FUNCTION(skip_replies), METH_FASTCALL, "How far replies are there, and how many elements are not."},
    {"pack_entries", FUNCTION(pack_entries), METH_FASTCALL, "XADD commands, one an entry."},
    {"pack_records", FUNCTION(pack_records), METH_FASTCALL, "Names and their rows in turn, as arguments."},
    {"pack_live", FUNCTION(pack_live), METH_FASTCALL, "The whole flight of live values."},
    {"write_numbers", FUNCTION(write_numbers), METH_FASTCALL, "Rows of numbers as texts."},
    {0},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "streamlstm.store.resp._codec", "The compiled codec.", -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__codec(void) {
    fill_powers();
    if (find_numpy() < 0) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (!module) return NULL;
    table_type = (PyTypeObject *)PyType_FromSpec(&table_spec);
    if (!table_type || PyModule_AddObjectRef(module, "Table", (PyObject *)table_type) < 0 ||
        PyModule_AddIntConstant(module, "NO_SLOT", NO_SLOT) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
