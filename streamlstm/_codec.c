/* The compiled codec: see streamlstm/codec.py for what it is, streamlstm/codec_python.py for what each part does.
 *
 * Arrays come in through the buffer protocol and go out as bytes, so that no header but Python's is needed. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "_fetch.h"
#include "_shortest.h"

#define NO_SLOT (-1)
#define FLOAT32_LIMIT 0x1.ffffffp+127 /* 2^128 - 2^103: what is smaller rounds to a finite float32 */

/* ---------------------------------------------------------------------------------------------------- hashing */

#define ROTATE(x, b) (uint64_t)(((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND                                                                                                    \
    do {                                                                                                             \
        v0 += v1, v1 = ROTATE(v1, 13), v1 ^= v0, v0 = ROTATE(v0, 32);                                                \
        v2 += v3, v3 = ROTATE(v3, 16), v3 ^= v2;                                                                     \
        v0 += v3, v3 = ROTATE(v3, 21), v3 ^= v0;                                                                     \
        v2 += v1, v1 = ROTATE(v1, 17), v1 ^= v2, v2 = ROTATE(v2, 32);                                                \
    } while (0)

/* SipHash-1-3 (Aumasson and Bernstein 2012, with the rounds Python itself uses), keyed: names come from strangers. */
static uint64_t sip_hash(const uint64_t key[2], uint32_t stream, const char *text, size_t length) {
    uint64_t v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL;
    uint64_t v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL;
    uint64_t last = (uint64_t)length << 56, word = stream;
    v3 ^= word;
    SIP_ROUND;
    v0 ^= word;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        v3 ^= word;
        SIP_ROUND;
        v0 ^= word;
    }
    for (size_t i = 0; i < length; i++) last |= (uint64_t)(unsigned char)text[i] << (8 * i);
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

/* ------------------------------------------------------------------------------------------------------ table */

typedef struct {
    uint64_t hash;
    uint64_t name_at; /* in the table's names */
    uint32_t name_length;
    int32_t stream; /* -1: the slot is free */
} Entry;

/* Entries stand at their slot, so that a slot finds its series too; buckets hold slots, probed one after the other. */
typedef struct {
    PyObject_HEAD
    uint64_t key[2];
    Entry *entries;
    size_t entries_size;
    int32_t *buckets;
    size_t buckets_size; /* a power of two */
    size_t used;
    char *names;
    size_t names_size, names_used, names_lost; /* bytes; lost: of series that were removed */
} Table;

static int table_rehash(Table *self, size_t size) {
    int32_t *buckets = PyMem_RawMalloc(size * sizeof *buckets);
    if (!buckets) return PyErr_NoMemory(), -1;
    memset(buckets, 0xff, size * sizeof *buckets);
    for (size_t slot = 0; slot < self->entries_size; slot++) {
        if (self->entries[slot].stream < 0) continue;
        size_t at = self->entries[slot].hash & (size - 1);
        while (buckets[at] != NO_SLOT) at = (at + 1) & (size - 1);
        buckets[at] = (int32_t)slot;
    }
    PyMem_RawFree(self->buckets);
    self->buckets = buckets, self->buckets_size = size;
    return 0;
}

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args, (void)kwargs;
    Table *self = (Table *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    PyObject *os = PyImport_ImportModule("os");
    PyObject *random = os ? PyObject_CallMethod(os, "urandom", "i", 16) : NULL;
    Py_XDECREF(os);
    if (random) memcpy(self->key, PyBytes_AS_STRING(random), 16);
    Py_XDECREF(random);
    if (!random || table_rehash(self, 64) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void table_dealloc(Table *self) {
    PyMem_RawFree(self->entries);
    PyMem_RawFree(self->buckets);
    PyMem_RawFree(self->names);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type); /* a type made from a spec is held by its objects */
}

/* The bucket of a series, or of the free place where it would go. */
static size_t table_bucket(const Table *self, uint64_t hash, int32_t stream, const char *name, size_t length) {
    size_t mask = self->buckets_size - 1, at = hash & mask;
    for (; self->buckets[at] != NO_SLOT; at = (at + 1) & mask) {
        const Entry *entry = &self->entries[self->buckets[at]];
        if (entry->hash == hash && entry->stream == stream && entry->name_length == length &&
            memcmp(self->names + entry->name_at, name, length) == 0)
            break;
    }
    return at;
}

static int64_t table_find(const Table *self, int32_t stream, const char *name, size_t length) {
    uint64_t hash = sip_hash(self->key, (uint32_t)stream, name, length);
    return self->buckets[table_bucket(self, hash, stream, name, length)];
}

/* The slots of many names in a text. Each look-up waits for memory three times, one after the other, so many go side by
 * side: what the next part of each needs is asked for beforehand. */
static void table_find_all(const Table *self, int32_t stream, const char *text, const int64_t *at,
                           const int64_t *length, size_t count, int64_t *slots) {
    enum { TOGETHER = 16 };
    uint64_t hash[TOGETHER];
    size_t mask = self->buckets_size - 1;
    for (size_t first = 0; first < count; first += TOGETHER) {
        size_t many = count - first < TOGETHER ? count - first : TOGETHER;
        const int64_t *name = at + first, *size = length + first;
        for (size_t i = 0; i < many; i++) {
            hash[i] = sip_hash(self->key, (uint32_t)stream, text + name[i], (size_t)size[i]);
            __builtin_prefetch(&self->buckets[hash[i] & mask]);
        }
        for (size_t i = 0; i < many; i++) {
            int32_t slot = self->buckets[hash[i] & mask];
            if (slot != NO_SLOT) __builtin_prefetch(&self->entries[slot]);
        }
        for (size_t i = 0; i < many; i++) {
            int32_t slot = self->buckets[hash[i] & mask];
            if (slot != NO_SLOT) __builtin_prefetch(self->names + self->entries[slot].name_at);
        }
        for (size_t i = 0; i < many; i++)
            slots[first + i] =
                self->buckets[table_bucket(self, hash[i], stream, text + name[i], (size_t)size[i])];
    }
}

/* Make room for one more name, squeezing out those of removed series when they are most of it. */
static int table_reserve_name(Table *self, size_t length) {
    if (self->names_used + length <= self->names_size) return 0;
    size_t kept = self->names_used - self->names_lost, size = kept + kept / 8 + length + 4096;
    char *names = PyMem_RawMalloc(size);
    if (!names) return PyErr_NoMemory(), -1;
    size_t used = 0;
    for (size_t slot = 0; slot < self->entries_size; slot++) {
        Entry *entry = &self->entries[slot];
        if (entry->stream < 0) continue;
        memcpy(names + used, self->names + entry->name_at, entry->name_length);
        entry->name_at = used, used += entry->name_length;
    }
    PyMem_RawFree(self->names);
    self->names = names, self->names_size = size, self->names_used = used, self->names_lost = 0;
    return 0;
}

static int table_reserve_slot(Table *self, size_t slot) {
    if (slot < self->entries_size) return 0;
    size_t size = self->entries_size ? self->entries_size : 64;
    while (size <= slot) size += size / 16 + 64;
    Entry *entries = PyMem_RawRealloc(self->entries, size * sizeof *entries);
    if (!entries) return PyErr_NoMemory(), -1;
    for (size_t i = self->entries_size; i < size; i++) entries[i].stream = -1;
    self->entries = entries, self->entries_size = size;
    return 0;
}

static PyObject *table_put(Table *self, PyObject *args) {
    int stream;
    Py_buffer name;
    Py_ssize_t slot;
    if (!PyArg_ParseTuple(args, "iy*n", &stream, &name, &slot)) return NULL;
    PyObject *result = NULL;
    if (stream < 0 || slot < 0 || slot > INT32_MAX || name.len > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a stream, slot or name is out of range");
        goto done;
    }
    if (table_reserve_slot(self, (size_t)slot) < 0 || table_reserve_name(self, (size_t)name.len) < 0) goto done;
    if (3 * (self->used + 1) > 2 * self->buckets_size && table_rehash(self, 2 * self->buckets_size) < 0) goto done;
    uint64_t hash = sip_hash(self->key, (uint32_t)stream, name.buf, (size_t)name.len);
    size_t at = table_bucket(self, hash, stream, name.buf, (size_t)name.len);
    if (self->buckets[at] != NO_SLOT || self->entries[slot].stream >= 0) {
        PyErr_SetString(PyExc_ValueError, "the series has a slot, or the slot a series");
        goto done;
    }
    memcpy(self->names + self->names_used, name.buf, (size_t)name.len);
    self->entries[slot] = (Entry){hash, self->names_used, (uint32_t)name.len, stream};
    self->names_used += (size_t)name.len;
    self->buckets[at] = (int32_t)slot;
    self->used++;
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&name);
    return result;
}

static PyObject *table_get(Table *self, PyObject *args) {
    int stream;
    Py_buffer name;
    if (!PyArg_ParseTuple(args, "iy*", &stream, &name)) return NULL;
    int64_t slot = table_find(self, stream, name.buf, (size_t)name.len);
    PyBuffer_Release(&name);
    return PyLong_FromLongLong(slot);
}

static PyObject *table_remove(Table *self, PyObject *argument) {
    Py_ssize_t slot = PyLong_AsSsize_t(argument);
    if (slot == -1 && PyErr_Occurred()) return NULL;
    if (slot < 0 || (size_t)slot >= self->entries_size || self->entries[slot].stream < 0) Py_RETURN_NONE;
    Entry *entry = &self->entries[slot];
    size_t mask = self->buckets_size - 1, at = entry->hash & mask;
    while (self->buckets[at] != (int32_t)slot) at = (at + 1) & mask;
    /* Those behind move up, so that no probe ends early and nothing is left to skip (Knuth 6.4, algorithm R). */
    for (size_t next = (at + 1) & mask; self->buckets[next] != NO_SLOT; next = (next + 1) & mask) {
        size_t home = self->entries[self->buckets[next]].hash & mask;
        if (((next - home) & mask) >= ((next - at) & mask)) {
            self->buckets[at] = self->buckets[next];
            at = next;
        }
    }
    self->buckets[at] = NO_SLOT;
    self->names_lost += entry->name_length;
    entry->stream = -1;
    self->used--;
    Py_RETURN_NONE;
}

static Py_ssize_t table_length(Table *self) { return (Py_ssize_t)self->used; }

static PyObject *table_nbytes(Table *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(self->entries_size * sizeof(Entry) + self->buckets_size * sizeof(int32_t) +
                             self->names_size);
}

static PyMethodDef table_methods[] = {
    {"put", (PyCFunction)table_put, METH_VARARGS, "Give a free slot to a series that has none."},
    {"get", (PyCFunction)table_get, METH_VARARGS, "The series' slot, or NO_SLOT."},
    {"remove", (PyCFunction)table_remove, METH_O, "Take a slot from its series, if it has one."},
    {0},
};
static PyGetSetDef table_properties[] = {{"nbytes", (getter)table_nbytes, NULL, "Memory taken.", NULL}, {0}};
static PyType_Slot table_slots[] = {
    {Py_tp_new, table_new},         {Py_tp_dealloc, table_dealloc}, {Py_tp_methods, table_methods},
    {Py_tp_getset, table_properties}, {Py_sq_length, table_length},
    {Py_tp_doc, "Which slot a series of a stream has."}, {0},
};
static PyType_Spec table_spec = {"streamlstm._codec.Table", sizeof(Table), 0, Py_TPFLAGS_DEFAULT, table_slots};
static PyTypeObject *table_type;

/* ----------------------------------------------------------------------------------------------------- reading */

typedef struct {
    const char *data;
    Py_ssize_t size, at;
} Cursor;

/* The number of a line `<kind><number>\r\n`; 0 and no exception is success. */
static int read_head(Cursor *cursor, char kind, int64_t *number) {
    Py_ssize_t at = cursor->at;
    if (at >= cursor->size || cursor->data[at] != kind) return -1;
    int negative = ++at < cursor->size && cursor->data[at] == '-';
    at += negative;
    int64_t found = 0;
    Py_ssize_t first = at;
    for (; at < cursor->size && cursor->data[at] >= '0' && cursor->data[at] <= '9' && at - first < 18; at++)
        found = 10 * found + (cursor->data[at] - '0');
    if (at == first || at + 1 >= cursor->size || cursor->data[at] != '\r' || cursor->data[at + 1] != '\n') return -1;
    cursor->at = at + 2;
    *number = negative ? -found : found;
    return 0;
}

static int read_array(Cursor *cursor, int64_t *length) {
    if (read_head(cursor, '*', length) < 0) return -1;
    if (*length < 0) *length = 0;
    return *length > cursor->size - cursor->at ? -1 : 0; /* an element takes more than a byte */
}

static int read_bulk(Cursor *cursor, int64_t *at, int64_t *length) {
    if (read_head(cursor, '$', length) < 0 || *length < 0 || *length > cursor->size - cursor->at - 2) return -1;
    *at = cursor->at;
    cursor->at += *length + 2;
    return 0;
}

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

static int add_int(Buffer *buffer, int64_t number) {
    int64_t *place = buffer_add(buffer, sizeof number);
    if (!place) return -1;
    *place = number;
    return 0;
}

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* One decimal number that is all of text[0:length]; 1 if it is one within float32's range, 0 if not, -1 on error. */
static int read_decimal(const char *text, int64_t length, float *number) {
    const char *at = text, *end = text + length;
    int negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    uint64_t mantissa = 0;
    int digits = 0, significant = 0;
    int64_t exponent = 0;
    for (int fraction = 0; at < end; at++) {
        if (*at == '.' && !fraction) {
            fraction = 1;
            continue;
        }
        if (*at < '0' || *at > '9') break;
        digits = 1;
        if (significant < 19) {
            mantissa = 10 * mantissa + (uint64_t)(*at - '0');
            significant += mantissa != 0;
            exponent -= fraction;
        } else {
            significant++; /* too many for the short way */
        }
    }
    if (!digits) return 0;
    if (at < end && (*at == 'e' || *at == 'E')) {
        int minus = ++at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+')) at++;
        const char *first = at;
        int64_t written = 0;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            if (written < 100000) written = 10 * written + (*at - '0');
        if (at == first) return 0;
        exponent += minus ? -written : written;
    }
    if (at != end) return 0;
    double value;
    if (significant <= 19 && mantissa < (1ULL << 53) && exponent >= -22 && exponent <= 22) {
        /* Mantissa and power are exact doubles, so one operation rounds once (Clinger 1990). */
        value = exponent < 0 ? (double)mantissa / POWERS[-exponent] : (double)mantissa * POWERS[exponent];
        if (negative) value = -value;
    } else {
        char short_copy[128], *copy = length < 128 ? short_copy : PyMem_RawMalloc((size_t)length + 1);
        if (!copy) return PyErr_NoMemory(), -1;
        memcpy(copy, text, (size_t)length);
        copy[length] = 0;
        value = PyOS_string_to_double(copy, NULL, NULL); /* overflow gives infinity */
        if (copy != short_copy) PyMem_RawFree(copy);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
    }
    if (!(fabs(value) < FLOAT32_LIMIT)) return 0;
    *number = (float)value;
    return 1;
}

static int read_value(const char *text, int64_t length, int features, float *numbers) {
    for (int feature = 0; feature < features; feature++) {
        const char *comma = memchr(text, ',', (size_t)length);
        if ((comma != NULL) != (feature < features - 1)) return 0;
        int64_t part = comma ? comma - text : length;
        int good = read_decimal(text, part, &numbers[feature]);
        if (good <= 0) return good;
        text += part + 1, length -= part + 1;
    }
    return 1;
}

static int read_time(const char *text, int64_t length, int64_t *time_ms) {
    uint64_t found = 0;
    int64_t i = 0;
    for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        found = found > (uint64_t)(INT64_MAX - digit) / 10 ? INT64_MAX : 10 * found + digit;
    }
    *time_ms = (int64_t)found;
    return i > 0 && (i == length || text[i] == '-') ? 0 : -1;
}

enum { ID_AT, ID_LENGTH, TIME, ITEMS, NAME_AT, NAME_LENGTH, TEXT_AT, TEXT_LENGTH, SLOT, VALUE, ODD, COLUMNS };

static int scan_item(Cursor *cursor, int features, Buffer *columns) {
    int64_t name_at, name_length, text_at, text_length;
    if (read_bulk(cursor, &name_at, &name_length) < 0 || read_bulk(cursor, &text_at, &text_length) < 0) return -1;
    float *numbers = buffer_add(&columns[VALUE], (size_t)features * sizeof *numbers);
    char *odd = buffer_add(&columns[ODD], 1);
    if (!numbers || !odd) return -2;
    int good = read_value(cursor->data + text_at, text_length, features, numbers);
    if (good < 0) return -2;
    *odd = !good;
    if (!good)
        for (int feature = 0; feature < features; feature++) numbers[feature] = NAN;
    if (add_int(&columns[NAME_AT], name_at) < 0 || add_int(&columns[NAME_LENGTH], name_length) < 0 ||
        add_int(&columns[TEXT_AT], text_at) < 0 || add_int(&columns[TEXT_LENGTH], text_length) < 0)
        return -2;
    return 0;
}

/* -1: not a read's reply; -2: an exception is set or memory is short. */
static int scan_entries(Cursor *cursor, int features, Buffer *columns) {
    int64_t entries, parts, fields, at, length, time_ms;
    if (read_array(cursor, &entries) < 0) return -1;
    while (entries-- > 0) {
        if (read_array(cursor, &parts) < 0 || parts != 2 || read_bulk(cursor, &at, &length) < 0 ||
            read_time(cursor->data + at, length, &time_ms) < 0 || read_array(cursor, &fields) < 0 || fields % 2)
            return -1;
        if (add_int(&columns[ID_AT], at) < 0 || add_int(&columns[ID_LENGTH], length) < 0 ||
            add_int(&columns[TIME], time_ms) < 0 || add_int(&columns[ITEMS], fields / 2) < 0)
            return -2;
        for (; fields > 0; fields -= 2) {
            int problem = scan_item(cursor, features, columns);
            if (problem) return problem;
        }
    }
    return 0;
}

/* Fill the column of slots; -2 if memory is short. */
static int find_slots(const Cursor *cursor, const Table *table, int32_t stream, Buffer *columns) {
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

static PyObject *scan_stream(Cursor *cursor, const Table *table, PyObject *streams, int features) {
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
    long stream = PyLong_AsLong(number);
    if (stream == -1 && PyErr_Occurred()) goto done;
    int problem = scan_entries(cursor, features, columns);
    if (!problem) problem = find_slots(cursor, table, (int32_t)stream, columns);
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

static PyObject *scan_read(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer reply;
    PyObject *table, *streams;
    int features;
    if (!PyArg_ParseTuple(args, "y*O!O!i", &reply, table_type, &table, &PyDict_Type, &streams, &features)) return NULL;
    Cursor cursor = {reply.buf, reply.len, 0};
    int64_t count;
    PyObject *found = NULL;
    if (features < 1 || read_array(&cursor, &count) < 0) {
        PyErr_SetString(PyExc_ValueError, "not a read's reply");
        goto done;
    }
    found = PyList_New(0);
    while (found && count-- > 0) {
        PyObject *stream = scan_stream(&cursor, (Table *)table, streams, features);
        if (!stream || PyList_Append(found, stream) < 0) Py_CLEAR(found);
        Py_XDECREF(stream);
    }
done:
    PyBuffer_Release(&reply);
    return found;
}

/* What scan_single tells of the one item. */
enum { SINGLE_ID_AT, SINGLE_ID_LENGTH, SINGLE_TIME, SINGLE_NAME_AT, SINGLE_NAME_LENGTH, SINGLE_SLOT, SINGLE_COLUMNS };

/* 1 if the rest of the reply is one entry with one plain value of a series in the table; 0 if not, -1 on error. */
static int scan_one_item(Cursor *cursor, const Table *table, int32_t stream, int features, int64_t *found,
                         float *value) {
    int64_t entries, parts, fields, text_at, text_length;
    if (read_array(cursor, &entries) < 0 || entries != 1 || read_array(cursor, &parts) < 0 || parts != 2 ||
        read_bulk(cursor, &found[SINGLE_ID_AT], &found[SINGLE_ID_LENGTH]) < 0 ||
        read_time(cursor->data + found[SINGLE_ID_AT], found[SINGLE_ID_LENGTH], &found[SINGLE_TIME]) < 0 ||
        read_array(cursor, &fields) < 0 || fields != 2 ||
        read_bulk(cursor, &found[SINGLE_NAME_AT], &found[SINGLE_NAME_LENGTH]) < 0 ||
        read_bulk(cursor, &text_at, &text_length) < 0 || cursor->at != cursor->size)
        return 0;
    found[SINGLE_SLOT] =
        table_find(table, stream, cursor->data + found[SINGLE_NAME_AT], (size_t)found[SINGLE_NAME_LENGTH]);
    return found[SINGLE_SLOT] == NO_SLOT ? 0 : read_value(cursor->data + text_at, text_length, features, value);
}

static PyObject *scan_single(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer reply, found, value;
    PyObject *table, *streams, *key = NULL, *number;
    if (!PyArg_ParseTuple(args, "y*O!O!w*w*", &reply, table_type, &table, &PyDict_Type, &streams, &found, &value))
        return NULL;
    Cursor cursor = {reply.buf, reply.len, 0};
    int64_t count, parts, at, length;
    int good = 0, features = (int)(value.len / 4);
    if (found.len != 8 * SINGLE_COLUMNS || features < 1) {
        PyErr_SetString(PyExc_ValueError, "no room for what is found");
        good = -1;
    } else if (read_array(&cursor, &count) == 0 && count == 1 && read_array(&cursor, &parts) == 0 && parts == 2 &&
               read_bulk(&cursor, &at, &length) == 0) {
        key = PyBytes_FromStringAndSize(cursor.data + at, (Py_ssize_t)length);
        number = key ? PyDict_GetItemWithError(streams, key) : NULL;
        long stream = number ? PyLong_AsLong(number) : -1;
        good = PyErr_Occurred() ? -1 : stream < 0 ? 0
               : scan_one_item(&cursor, (Table *)table, (int32_t)stream, features, found.buf, value.buf);
    }
    PyBuffer_Release(&reply);
    PyBuffer_Release(&found);
    PyBuffer_Release(&value);
    if (good == 1) return key;
    Py_XDECREF(key);
    if (good < 0) return NULL;
    Py_RETURN_NONE;
}

/* Go over whole elements from `at` on until none is left or the next is not all there; -1 if it is not a reply. */
static int skip_elements(const char *text, Py_ssize_t size, Py_ssize_t *at, int64_t *left) {
    while (*left > 0) {
        const char *line_end = *at < size ? memchr(text + *at, '\n', (size_t)(size - *at)) : NULL;
        if (!line_end) return 0;
        Cursor cursor = {text, size, *at};
        int64_t number = 0;
        char kind = text[*at];
        Py_ssize_t next = line_end - text + 1;
        if ((kind == '$' || kind == '*') && read_head(&cursor, kind, &number) < 0) return -1;
        if (kind == '$' && number >= 0) {
            if (number > size - cursor.at - 2) return 0;
            next = cursor.at + (Py_ssize_t)number + 2;
        }
        *left += kind == '*' && number > 0 ? number - 1 : -1;
        *at = next;
    }
    return 0;
}

static PyObject *skip_replies(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer data;
    Py_ssize_t at, left;
    if (!PyArg_ParseTuple(args, "y*nn", &data, &at, &left)) return NULL;
    int64_t elements = left;
    int good = at >= 0 ? skip_elements(data.buf, data.len, &at, &elements) : -1;
    PyBuffer_Release(&data);
    if (good < 0) return PyErr_Format(PyExc_ValueError, "not a reply at byte %zd", at);
    return Py_BuildValue("nL", at, (long long)elements);
}

/* ----------------------------------------------------------------------------------------------------- packing */

static int digits_of(uint64_t number) {
    int digits = 1;
    while (number >= 10) number /= 10, digits++;
    return digits;
}

static char *write_number(char *to, char kind, uint64_t number) {
    int digits = digits_of(number);
    *to++ = kind;
    for (int i = digits - 1; i >= 0; i--) to[i] = (char)('0' + number % 10), number /= 10;
    to += digits;
    *to++ = '\r', *to++ = '\n';
    return to;
}

static size_t bulk_size(int64_t length) { return (size_t)(5 + digits_of((uint64_t)length) + length); }

static char *write_bulk(char *to, const char *text, int64_t length) {
    to = write_number(to, '$', (uint64_t)length);
    memcpy(to, text, (size_t)length);
    to += length;
    *to++ = '\r', *to++ = '\n';
    return to;
}

/* Pieces of a stretch of bytes: a tuple (bytes, places, lengths). */
typedef struct {
    Py_buffer data, places, lengths;
    const int64_t *at, *length;
    Py_ssize_t count;
    int held;
} Texts;

static void texts_release(Texts *texts) {
    if (!texts->held) return;
    PyBuffer_Release(&texts->data);
    PyBuffer_Release(&texts->places);
    PyBuffer_Release(&texts->lengths);
}

static int texts_take(PyObject *tuple, Texts *texts) {
    PyObject *data, *places, *lengths;
    texts->held = 0;
    if (!PyArg_ParseTuple(tuple, "OOO", &data, &places, &lengths)) return -1;
    if (PyObject_GetBuffer(data, &texts->data, PyBUF_SIMPLE) < 0) return -1;
    if (PyObject_GetBuffer(places, &texts->places, PyBUF_C_CONTIGUOUS) < 0) {
        PyBuffer_Release(&texts->data);
        return -1;
    }
    if (PyObject_GetBuffer(lengths, &texts->lengths, PyBUF_C_CONTIGUOUS) < 0) {
        PyBuffer_Release(&texts->data);
        PyBuffer_Release(&texts->places);
        return -1;
    }
    texts->held = 1;
    texts->at = texts->places.buf, texts->length = texts->lengths.buf;
    texts->count = texts->places.len / 8;
    if (texts->lengths.len != texts->places.len || texts->places.len % 8) goto wrong;
    for (Py_ssize_t i = 0; i < texts->count; i++)
        if (texts->at[i] < 0 || texts->length[i] < 0 || texts->at[i] > texts->data.len ||
            texts->length[i] > texts->data.len - texts->at[i])
            goto wrong;
    return 0;
wrong:
    texts_release(texts);
    texts->held = 0;
    PyErr_SetString(PyExc_ValueError, "places and lengths do not lie within the bytes");
    return -1;
}

static PyObject *pack_entries(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer head, counted;
    PyObject *id_tuple, *field_tuple, *text_tuple, *result = NULL;
    if (!PyArg_ParseTuple(args, "y*Oy*OO", &head, &id_tuple, &counted, &field_tuple, &text_tuple)) return NULL;
    Texts ids = {.held = 0}, fields = {.held = 0}, texts = {.held = 0};
    if (texts_take(id_tuple, &ids) < 0 || texts_take(field_tuple, &fields) < 0 || texts_take(text_tuple, &texts) < 0)
        goto done;
    const int64_t *counts = counted.buf;
    int64_t total = 0;
    size_t size = 0;
    int good = counted.len == 8 * ids.count && fields.count == texts.count;
    for (Py_ssize_t i = 0; good && i < ids.count; i++) {
        good = counts[i] >= 0 && counts[i] <= fields.count - total;
        total += counts[i];
        size += 3 + (size_t)digits_of((uint64_t)(3 + 2 * counts[i])) + (size_t)head.len + bulk_size(ids.length[i]);
    }
    if (!good || total != fields.count) {
        PyErr_SetString(PyExc_ValueError, "counts do not add up to the fields");
        goto done;
    }
    for (Py_ssize_t i = 0; i < fields.count; i++) size += bulk_size(fields.length[i]) + bulk_size(texts.length[i]);
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!result) goto done;
    char *to = PyBytes_AS_STRING(result);
    const char *id_data = ids.data.buf, *field_data = fields.data.buf, *text_data = texts.data.buf;
    Py_ssize_t item = 0;
    for (Py_ssize_t i = 0; i < ids.count; i++) {
        to = write_number(to, '*', (uint64_t)(3 + 2 * counts[i]));
        memcpy(to, head.buf, (size_t)head.len);
        to = write_bulk(to + head.len, id_data + ids.at[i], ids.length[i]);
        for (int64_t left = counts[i]; left > 0; left--, item++) {
            to = write_bulk(to, field_data + fields.at[item], fields.length[item]);
            to = write_bulk(to, text_data + texts.at[item], texts.length[item]);
        }
    }
done:
    texts_release(&ids), texts_release(&fields), texts_release(&texts);
    PyBuffer_Release(&head);
    PyBuffer_Release(&counted);
    return result;
}

static char *write_piece(char *to, const Py_buffer *piece) {
    memcpy(to, piece->buf, (size_t)piece->len);
    return to + piece->len;
}

/* Whether a place and the length after it lie within some bytes. */
static int lies_within(const Py_buffer *data, const int64_t *place) {
    return place[0] >= 0 && place[1] >= 0 && place[0] <= data->len && place[1] <= data->len - place[0];
}

/* Names, and of each the row of words that its slot has, in turn. */
static PyObject *pack_records(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer rows, slots;
    PyObject *name_tuple, *result = NULL;
    Py_ssize_t each;
    if (!PyArg_ParseTuple(args, "Oy*ny*", &name_tuple, &rows, &each, &slots)) return NULL;
    Texts names = {.held = 0};
    if (texts_take(name_tuple, &names) < 0) goto done;
    const int64_t *slot = slots.buf;
    int good = each > 0 && slots.len == 8 * names.count;
    for (Py_ssize_t i = 0; good && i < names.count; i++) good = slot[i] >= 0 && slot[i] < rows.len / each;
    if (!good) {
        PyErr_SetString(PyExc_ValueError, "every name needs the slot of a row");
        goto done;
    }
    size_t size = (size_t)names.count * bulk_size(each);
    for (Py_ssize_t i = 0; i < names.count; i++) size += bulk_size(names.length[i]);
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!result) goto done;
    char *to = PyBytes_AS_STRING(result);
    const char *name_data = names.data.buf, *row = rows.buf;
    for (Py_ssize_t i = 0; i < names.count; i++) {
        if (i + AHEAD < names.count) fetch_row(row + slot[i + AHEAD] * each, each);
        to = write_bulk(to, name_data + names.at[i], names.length[i]);
        to = write_bulk(to, row + slot[i] * each, each);
    }
done:
    texts_release(&names);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&slots);
    return result;
}

/* The whole flight of a single value. */
static PyObject *pack_single(PyObject *module, PyObject *args) {
    (void)module;
    enum { REPLY, FOUND, ROWS, NUMBERS, BEGIN, ADD, META, COUNT, END, BUFFERS };
    Py_buffer b[BUFFERS];
    Py_ssize_t each;
    unsigned long long answered;
    if (!PyArg_ParseTuple(args, "y*y*y*ny*K(y*y*y*y*y*)", &b[REPLY], &b[FOUND], &b[ROWS], &each, &b[NUMBERS],
                          &answered, &b[BEGIN], &b[ADD], &b[META], &b[COUNT], &b[END]))
        return NULL;
    PyObject *result = NULL;
    const int64_t *found = b[FOUND].buf;
    Py_ssize_t columns = b[NUMBERS].len / 4, room = columns * SHORTEST_MAX;
    if (b[FOUND].len != 8 * SINGLE_COLUMNS || each <= 0 || found[SINGLE_SLOT] < 0 ||
        found[SINGLE_SLOT] >= b[ROWS].len / each || !lies_within(&b[REPLY], &found[SINGLE_ID_AT]) ||
        !lies_within(&b[REPLY], &found[SINGLE_NAME_AT])) {
        PyErr_SetString(PyExc_ValueError, "what was found does not lie within the reply and the rows");
        goto done;
    }
    const char *reply = b[REPLY].buf, *id = reply + found[SINGLE_ID_AT], *name = reply + found[SINGLE_NAME_AT];
    int64_t id_length = found[SINGLE_ID_LENGTH], name_length = found[SINGLE_NAME_LENGTH];
    char count[24];
    int count_length = snprintf(count, sizeof count, "%llu", answered);
    size_t most = 2 * bulk_size(name_length) + 2 * bulk_size(id_length) + bulk_size(each) + bulk_size(room) +
                  bulk_size(count_length);
    for (int piece = BEGIN; piece <= END; piece++) most += (size_t)b[piece].len;
    /* The text is written behind everything else first: its length stands before it. */
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)most + room);
    if (!result) goto done;
    char *start = PyBytes_AS_STRING(result), *text = start + most, *text_end = text, *to = start;
    for (Py_ssize_t i = 0; i < columns; i++) {
        if (i) *text_end++ = ',';
        text_end = write_shortest(text_end, ((const float *)b[NUMBERS].buf)[i]);
    }
    to = write_piece(to, &b[BEGIN]);
    to = write_bulk(to, name, name_length);
    to = write_bulk(to, (const char *)b[ROWS].buf + found[SINGLE_SLOT] * each, each);
    to = write_piece(to, &b[ADD]);
    to = write_bulk(to, id, id_length);
    to = write_bulk(to, name, name_length);
    to = write_bulk(to, text, text_end - text);
    to = write_piece(to, &b[META]);
    to = write_bulk(to, id, id_length);
    to = write_piece(to, &b[COUNT]);
    to = write_bulk(to, count, count_length);
    to = write_piece(to, &b[END]);
    _PyBytes_Resize(&result, to - start);
done:
    for (int i = 0; i < BUFFERS; i++) PyBuffer_Release(&b[i]);
    return result;
}

/* Rows of numbers, finite or NaN, as texts, commas between them: (bytes, places, lengths). */
static PyObject *write_numbers(PyObject *module, PyObject *args) {
    (void)module;
    Py_buffer numbers;
    int columns;
    if (!PyArg_ParseTuple(args, "y*i", &numbers, &columns)) return NULL;
    PyObject *result = NULL, *data = NULL, *places = NULL, *lengths = NULL;
    Py_ssize_t each = columns > 0 ? 4 * (Py_ssize_t)columns : 0;
    if (!each || numbers.len % each) {
        PyErr_SetString(PyExc_ValueError, "the numbers do not fill their rows");
        goto done;
    }
    Py_ssize_t count = numbers.len / each;
    data = PyBytes_FromStringAndSize(NULL, count * columns * SHORTEST_MAX);
    places = PyBytes_FromStringAndSize(NULL, 8 * count);
    lengths = PyBytes_FromStringAndSize(NULL, 8 * count);
    if (!data || !places || !lengths) goto done;
    const float *number = numbers.buf;
    char *begin = PyBytes_AS_STRING(data), *to = begin;
    int64_t *at = (int64_t *)PyBytes_AS_STRING(places), *length = (int64_t *)PyBytes_AS_STRING(lengths);
    for (Py_ssize_t i = 0; i < count; i++) {
        at[i] = to - begin;
        for (int column = 0; column < columns; column++) {
            if (column) *to++ = ',';
            to = write_shortest(to, *number++);
        }
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
    {"scan_read", scan_read, METH_VARARGS, "Take apart the whole reply of an XREAD."},
    {"scan_single", scan_single, METH_VARARGS, "Take apart the reply of an XREAD that brings one plain value."},
    {"skip_replies", skip_replies, METH_VARARGS, "How far replies are there, and how many elements are not."},
    {"pack_entries", pack_entries, METH_VARARGS, "XADD commands, one an entry."},
    {"pack_records", pack_records, METH_VARARGS, "Names and their rows in turn, as arguments."},
    {"pack_single", pack_single, METH_VARARGS, "The whole flight of a single value."},
    {"write_numbers", write_numbers, METH_VARARGS, "Rows of numbers as texts."},
    {0},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "streamlstm._codec", "The compiled codec.", -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__codec(void) {
    fill_powers();
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
