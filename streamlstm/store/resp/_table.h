/* Which slot a series of a stream has: a hash table whose names come from strangers. */

#pragma once

#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "_arrays.h"

#define NO_SLOT (-1)

#define ROTATE(x, b) (uint64_t)(((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND                                                                                                    \
    do {                                                                                                             \
        v0 += v1, v1 = ROTATE(v1, 13), v1 ^= v0, v0 = ROTATE(v0, 32);                                                \
        v2 += v3, v3 = ROTATE(v3, 16), v3 ^= v2;                                                                     \
        v0 += v3, v3 = ROTATE(v3, 21), v3 ^= v0;                                                                     \
        v2 += v1, v1 = ROTATE(v1, 17), v1 ^= v2, v2 = ROTATE(v2, 32);                                                \
    } while (0)

/* What SipHash has made of what came so far. */
typedef struct {
    uint64_t v[4];
} Sip;

/* SipHash-1-3 (Aumasson and Bernstein 2012, with the rounds Python itself uses), keyed: names come from strangers. A
 * stream's number is all that comes before its names. */
static Sip sip_begin(const uint64_t key[2], uint32_t stream) {
    uint64_t v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL;
    uint64_t v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL;
    v3 ^= stream;
    SIP_ROUND;
    v0 ^= stream;
    return (Sip){{v0, v1, v2, v3}};
}

static inline uint64_t sip_end(const Sip *begun, const char *text, size_t length) {
    uint64_t v0 = begun->v[0], v1 = begun->v[1], v2 = begun->v[2], v3 = begun->v[3];
    uint64_t last = (uint64_t)length << 56, word;
    const char *first = text;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        v3 ^= word;
        SIP_ROUND;
        v0 ^= word;
    }
    if (PY_LITTLE_ENDIAN && text > first && length) { /* what is left, as the end of eight bytes */
        memcpy(&word, text + length - 8, 8);
        last |= word >> (64 - 8 * length);
    } else {
        for (size_t i = 0; i < length; i++) last |= (uint64_t)(unsigned char)text[i] << (8 * i);
    }
    v3 ^= last;
    SIP_ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

static uint64_t sip_hash(const uint64_t key[2], uint32_t stream, const char *text, size_t length) {
    Sip begun = sip_begin(key, stream);
    return sip_end(&begun, text, length);
}

/* A short name, as most are, stands in the entry: to find it elsewhere is to wait for memory once more. */
enum { SHORT_NAME = 16 };
typedef struct {
    uint64_t hash;
    union {
        char text[SHORT_NAME];
        uint64_t at; /* in the table's names */
    } name;
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

/* Whether two texts of a length are the same; most names are short enough to be compared at once. */
static inline int same_text(const char *one, const char *other, size_t length) {
    uint64_t a, b, c, d;
    if (length < 8 || length > 16) return memcmp(one, other, length) == 0;
    memcpy(&a, one, 8), memcpy(&b, other, 8);
    memcpy(&c, one + length - 8, 8), memcpy(&d, other + length - 8, 8);
    return a == b && c == d;
}

static inline const char *name_of(const Table *self, const Entry *entry) {
    return entry->name_length <= SHORT_NAME ? entry->name.text : self->names + entry->name.at;
}

/* How much of the table's names an entry's takes. */
static inline size_t apart(size_t length) { return length <= SHORT_NAME ? 0 : length; }

/* The bucket of a series, or of the free place where it would go. */
static size_t table_bucket(const Table *self, uint64_t hash, int32_t stream, const char *name, size_t length) {
    size_t mask = self->buckets_size - 1, at = hash & mask;
    for (; self->buckets[at] != NO_SLOT; at = (at + 1) & mask) {
        const Entry *entry = &self->entries[self->buckets[at]];
        if (entry->hash == hash && entry->stream == stream && entry->name_length == length &&
            same_text(name_of(self, entry), name, length))
            break;
    }
    return at;
}

static int64_t table_find(const Table *self, int32_t stream, const char *name, size_t length) {
    uint64_t hash = sip_hash(self->key, (uint32_t)stream, name, length);
    return self->buckets[table_bucket(self, hash, stream, name, length)];
}

/* Ask for an entry, which may lie across two lines. */
static inline void fetch_entry(const Entry *entry) {
    __builtin_prefetch(entry);
    __builtin_prefetch((const char *)(entry + 1) - 1);
}

/* The slots of many names in a text. Each look-up waits for memory two or three times, one after the other, so many go side by
 * side: what the next part of each needs is asked for beforehand. */
static void table_find_all(const Table *self, int32_t stream, const char *text, const int64_t *at,
                           const int64_t *length, size_t count, int64_t *slots) {
    enum { TOGETHER = 16 };
    uint64_t hash[TOGETHER];
    Sip begun = sip_begin(self->key, (uint32_t)stream);
    size_t mask = self->buckets_size - 1;
    for (size_t first = 0; first < count; first += TOGETHER) {
        size_t many = count - first < TOGETHER ? count - first : TOGETHER;
        const int64_t *name = at + first, *size = length + first;
        for (size_t i = 0; i < many; i++) {
            hash[i] = sip_end(&begun, text + name[i], (size_t)size[i]);
            __builtin_prefetch(&self->buckets[hash[i] & mask]);
        }
        for (size_t i = 0; i < many; i++) {
            int32_t slot = self->buckets[hash[i] & mask];
            if (slot != NO_SLOT) fetch_entry(&self->entries[slot]);
        }
        for (size_t i = 0; i < many; i++) {
            int32_t slot = self->buckets[hash[i] & mask];
            if (slot != NO_SLOT && size[i] > SHORT_NAME) __builtin_prefetch(name_of(self, &self->entries[slot]));
        }
        for (size_t i = 0; i < many; i++)
            slots[first + i] =
                self->buckets[table_bucket(self, hash[i], stream, text + name[i], (size_t)size[i])];
    }
}

/* Make room for one more name, squeezing out those of removed series when they are most of it. */
static int table_reserve_name(Table *self, size_t length) {
    length = apart(length);
    if (self->names_used + length <= self->names_size) return 0;
    size_t kept = self->names_used - self->names_lost, size = kept + kept / 8 + length + 4096;
    char *names = PyMem_RawMalloc(size);
    if (!names) return PyErr_NoMemory(), -1;
    size_t used = 0;
    for (size_t slot = 0; slot < self->entries_size; slot++) {
        Entry *entry = &self->entries[slot];
        if (entry->stream < 0 || !apart(entry->name_length)) continue;
        memcpy(names + used, self->names + entry->name.at, entry->name_length);
        entry->name.at = used, used += entry->name_length;
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

/* A stream's number; -1 with an exception if it is none. */
static int32_t take_stream(PyObject *number) {
    Py_ssize_t stream = PyNumber_AsSsize_t(number, PyExc_ValueError);
    if (stream == -1 && PyErr_Occurred()) return -1;
    if (stream >= 0 && stream <= INT32_MAX) return (int32_t)stream;
    return wrong("a stream, slot or name is out of range");
}

static PyObject *table_put(Table *self, PyObject *const *args, Py_ssize_t count) {
    const char *name;
    Py_ssize_t length, slot;
    if (take_count("put", count, 3) < 0 || take_bytes(args[1], "name", &name, &length) < 0 ||
        take_sizes(args + 2, (Py_ssize_t *[]){&slot}, 1) < 0)
        return NULL;
    int32_t stream = take_stream(args[0]);
    if (stream < 0) return NULL;
    if (slot < 0 || slot > INT32_MAX || length > UINT32_MAX)
        return wrong("a stream, slot or name is out of range"), NULL;
    if (table_reserve_slot(self, (size_t)slot) < 0 || table_reserve_name(self, (size_t)length) < 0) return NULL;
    if (2 * (self->used + 1) > self->buckets_size && table_rehash(self, 2 * self->buckets_size) < 0) return NULL;
    uint64_t hash = sip_hash(self->key, (uint32_t)stream, name, (size_t)length);
    size_t at = table_bucket(self, hash, stream, name, (size_t)length);
    if (self->buckets[at] != NO_SLOT || self->entries[slot].stream >= 0)
        return wrong("the series has a slot, or the slot a series"), NULL;
    Entry *entry = &self->entries[slot];
    *entry = (Entry){.hash = hash, .name_length = (uint32_t)length, .stream = stream};
    if (apart((size_t)length)) entry->name.at = self->names_used;
    memcpy((char *)name_of(self, entry), name, (size_t)length);
    self->names_used += apart((size_t)length);
    self->buckets[at] = (int32_t)slot;
    self->used++;
    Py_RETURN_NONE;
}

static PyObject *table_get(Table *self, PyObject *const *args, Py_ssize_t count) {
    const char *name;
    Py_ssize_t length;
    if (take_count("get", count, 2) < 0 || take_bytes(args[1], "name", &name, &length) < 0) return NULL;
    int32_t stream = take_stream(args[0]);
    return stream < 0 ? NULL : PyLong_FromLongLong(table_find(self, stream, name, (size_t)length));
}

static PyObject *table_remove(Table *self, PyObject *argument) {
    Py_ssize_t slot = PyNumber_AsSsize_t(argument, NULL); /* one beyond all others is a series' as little as they */
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
    self->names_lost += apart(entry->name_length);
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
    {"put", FUNCTION(table_put), METH_FASTCALL, "Give a free slot to a series that has none."},
    {"get", FUNCTION(table_get), METH_FASTCALL, "The series' slot, or NO_SLOT."},
    {"remove", FUNCTION(table_remove), METH_O, "Take a slot from its series, if it has one."},
    {0},
};
static PyGetSetDef table_properties[] = {{"nbytes", (getter)table_nbytes, NULL, "Memory taken.", NULL}, {0}};
static PyType_Slot table_slots[] = {
    {Py_tp_new, table_new},         {Py_tp_dealloc, table_dealloc}, {Py_tp_methods, table_methods},
    {Py_tp_getset, table_properties}, {Py_sq_length, table_length},
    {Py_tp_doc, "Which slot a series of a stream has."}, {0},
};
static PyType_Spec table_spec = {"streamlstm.store.resp._codec.Table", sizeof(Table), 0, Py_TPFLAGS_DEFAULT, table_slots};
static PyTypeObject *table_type;
