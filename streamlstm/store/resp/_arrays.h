/* Arguments from Python, held against what a function demands of them before it touches their memory.
 *
 * Arrays come in through the buffer protocol, so that no header but Python's is needed. One of another type, shape or
 * byte order, one that is not contiguous or not aligned, and one that may not be written to where it has to be, is a
 * TypeError or a ValueError that names it; streamlstm/store/resp/array_checks.py does the same for the twins in Python. */

#pragma once

#include <Python.h>
#include <stdint.h>
#include <string.h>

typedef enum { FLOAT32, FLOAT64, INT64, INT32, UINT8, CALIBRATION, CALIBRATION_ANYWHERE, TYPES_COUNT,
               FLOAT32_OR_INT64, FLOAT32_OR_FLOAT64 } Type;

enum { ANY = -1 }; /* dimensions */
typedef enum { READ, WRITE, READ_IF_ANY } Access; /* the last: None is taken too, and has no buffer */

/* What a function demands of an array. */
typedef struct {
    const char *name;
    Type type;
    int dimensions;
    Access access;
} Demand;

/* Types as the buffer protocol writes them; some have two names. */
typedef struct {
    const char *name, *format, *other;
    Py_ssize_t size, alignment;
} TypeFacts;

#define CALIBRATION_FORMAT "T{d:seen:d:scale:d:low:d:high:d:covered:(9)d:tails:d:expected:d:odd:d:aftermath:}"

static const TypeFacts TYPES[] = {
    [FLOAT32] = {"float32", "f", "f", 4, _Alignof(float)},
    [FLOAT64] = {"float64", "d", "d", 8, _Alignof(double)},
    [INT64] = {"int64", "l", "q", 8, _Alignof(int64_t)},
    [INT32] = {"int32", "i", "l", 4, _Alignof(int32_t)},
    [UINT8] = {"uint8", "B", "B", 1, 1},
    [CALIBRATION] = {"calibrations", CALIBRATION_FORMAT, CALIBRATION_FORMAT, 136, _Alignof(double)},
    [CALIBRATION_ANYWHERE] = {"calibrations", CALIBRATION_FORMAT, CALIBRATION_FORMAT, 136, 1}, /* as in a row */
};

static inline int wrong(const char *what) {
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

static inline int has_type(const Py_buffer *view, Type type) {
    const TypeFacts *facts = &TYPES[type];
    const char *format = view->format ? view->format : "B";
    const char native = PY_LITTLE_ENDIAN ? '<' : '>';
    if (*format == '@' || *format == '=' || *format == native) format++;
    return view->itemsize == facts->size && (!strcmp(format, facts->format) || !strcmp(format, facts->other));
}

/* A view's format costs half as much again as the view: numpy writes it anew each time. So what an array's dtype is
 * comes from the array itself, and the format is asked for only if that is not the dtype that was found right last. */
static PyTypeObject *ndarray_type, *void_type; /* numpy's */
static const PyGetSetDef *ndarray_dtype;       /* how an array gives its dtype */
static PyObject *right_dtypes[TYPES_COUNT];

/* Find numpy's types; -1 with an exception if there is none. */
static inline int find_numpy(void) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (!numpy) return -1;
    ndarray_type = (PyTypeObject *)PyObject_GetAttrString(numpy, "ndarray");
    void_type = (PyTypeObject *)PyObject_GetAttrString(numpy, "void");
    Py_DECREF(numpy);
    if (!ndarray_type || !void_type) return -1;
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)ndarray_type, "dtype");
    if (!descriptor) return -1;
    if (Py_IS_TYPE(descriptor, &PyGetSetDescr_Type)) ndarray_dtype = ((PyGetSetDescrObject *)descriptor)->d_getset;
    Py_DECREF(descriptor); /* the type holds it */
    return 0;
}

/* The dtype of an array or of an element of one; NULL without an exception for anything else. */
static inline PyObject *dtype_of(PyObject *object) {
    if (Py_IS_TYPE(object, ndarray_type) && ndarray_dtype) return ndarray_dtype->get(object, ndarray_dtype->closure);
    return Py_IS_TYPE(object, void_type) ? PyObject_GetAttrString(object, "dtype") : NULL;
}

/* 0 if a view is as demanded, else -1 with an exception; `is_right` if its type is known to be the one demanded. */
static inline int hold_view(const Py_buffer *view, const Demand *demand, Type type, int is_right) {
    if (!is_right && !has_type(view, type)) {
        PyErr_Format(PyExc_TypeError, "%s: an array of %s is needed", demand->name, TYPES[type].name);
        return -1;
    }
    if (demand->dimensions != ANY && view->ndim != demand->dimensions) {
        PyErr_Format(PyExc_ValueError, "%s: %d dimensions do not fit, %d are needed", demand->name, view->ndim,
                     demand->dimensions);
        return -1;
    }
    if (view->len && (uintptr_t)view->buf % (uintptr_t)TYPES[type].alignment) {
        PyErr_Format(PyExc_ValueError, "%s: the array is not aligned", demand->name);
        return -1;
    }
    return 0;
}

/* Why an object gave no view. */
static inline int no_view(PyObject *object, const Demand *demand) {
    if (PyErr_ExceptionMatches(PyExc_MemoryError)) return -1;
    PyErr_Clear();
    if (!PyObject_CheckBuffer(object))
        PyErr_Format(PyExc_TypeError, "%s: an array is needed", demand->name);
    else
        PyErr_Format(PyExc_ValueError, "%s: a C-contiguous array of numbers%s is needed", demand->name,
                     demand->access == WRITE ? " that can be written to" : "");
    return -1;
}

static inline void release_arrays(Py_buffer *views, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&views[i]);
}

/* A view of an object, as demanded; or -1 with an exception. */
static inline int take_array(PyObject *object, const Demand *demand, Py_buffer *view) {
    int access = demand->access == WRITE ? PyBUF_ND | PyBUF_WRITABLE : PyBUF_ND;
    Type type = demand->type;
    PyObject *dtype = dtype_of(object);
    Type other = type == FLOAT32_OR_INT64 ? INT64 : FLOAT64;
    int is_either = type > TYPES_COUNT;
    if (is_either) type = dtype && dtype == right_dtypes[other] ? other : FLOAT32;
    int is_right = dtype && dtype == right_dtypes[type];
    if (PyObject_GetBuffer(object, view, is_right ? access : access | PyBUF_FORMAT) < 0) {
        Py_XDECREF(dtype);
        return no_view(object, demand);
    }
    if (!is_right && is_either && has_type(view, other)) type = other;
    if (hold_view(view, demand, type, is_right) < 0) {
        PyBuffer_Release(view);
        Py_XDECREF(dtype);
        return -1;
    }
    if (is_right || !dtype)
        Py_XDECREF(dtype);
    else
        Py_XSETREF(right_dtypes[type], dtype);
    return 0;
}

/* Views of the objects, as demanded one by one; all of them, or none and -1 with an exception. */
static inline int take_arrays(PyObject *const *objects, const Demand *demands, Py_buffer *views, int count) {
    for (int i = 0; i < count; i++) {
        if (objects[i] == Py_None && demands[i].access == READ_IF_ANY) {
            views[i] = (Py_buffer){.buf = NULL};
        } else if (take_array(objects[i], &demands[i], &views[i]) < 0) {
            release_arrays(views, i);
            return -1;
        }
    }
    return 0;
}

/* The bytes of a matrix's row. */
static inline Py_ssize_t row_bytes(const Py_buffer *matrix) { return matrix->shape[1] * matrix->itemsize; }

/* How many numbers a view has. */
static inline Py_ssize_t count_of(const Py_buffer *view) { return view->len / view->itemsize; }

/* Whether a view is a matrix of these sizes. */
static inline int is_shaped(const Py_buffer *view, Py_ssize_t rows, Py_ssize_t columns) {
    return view->ndim == 2 && view->shape[0] == rows && view->shape[1] == columns;
}

static inline int take_count(const char *function, Py_ssize_t given, Py_ssize_t taken) {
    if (given == taken) return 0;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments, %zd were given", function, taken, given);
    return -1;
}

/* The objects of a tuple of so many; NULL with an exception for anything else. */
static inline PyObject *const *take_tuple(PyObject *object, const char *name, Py_ssize_t count) {
    if (PyTuple_Check(object) && PyTuple_GET_SIZE(object) == count) return &PyTuple_GET_ITEM(object, 0);
    PyErr_Format(PyExc_TypeError, "%s: a tuple of %zd is needed", name, count);
    return NULL;
}

/* The same, the first `arrays` of which are put among others. */
static inline PyObject *const *spread_tuple(PyObject *object, const char *name, Py_ssize_t count, int arrays,
                                            PyObject **to) {
    PyObject *const *found = take_tuple(object, name, count);
    for (int i = 0; found && i < arrays; i++) to[i] = found[i];
    return found;
}

/* Whole numbers; one beyond 64 bits is a ValueError. */
static inline int take_sizes(PyObject *const *objects, Py_ssize_t *const *numbers, int count) {
    for (int i = 0; i < count; i++) {
        *numbers[i] = PyNumber_AsSsize_t(objects[i], PyExc_ValueError);
        if (*numbers[i] == -1 && PyErr_Occurred()) return -1;
    }
    return 0;
}

/* The bytes of an object that lives as long as the call. */
static inline int take_bytes(PyObject *object, const char *name, const char **data, Py_ssize_t *size) {
    if (!PyBytes_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: bytes are needed", name);
        return -1;
    }
    *data = PyBytes_AS_STRING(object), *size = PyBytes_GET_SIZE(object);
    return 0;
}

/* Let other threads of Python work while a loop over so many touches no object; NULL where that is not worth it. A few
 * hundred take some microseconds, as long as a thread needs to notice. Views hold the memory meanwhile. */
enum { WORTH_LETTING_GO = 256 };
static inline PyThreadState *let_go(Py_ssize_t count) { return count < WORTH_LETTING_GO ? NULL : PyEval_SaveThread(); }
static inline void hold_again(PyThreadState *held) {
    if (held) PyEval_RestoreThread(held);
}

/* Sums and products of sizes; 0 if they fit. */
static inline int add_size(Py_ssize_t *total, Py_ssize_t more) { return __builtin_add_overflow(*total, more, total); }
static inline int multiply_sizes(Py_ssize_t one, Py_ssize_t other, Py_ssize_t *product) {
    return __builtin_mul_overflow(one, other, product);
}

/* A function with METH_FASTCALL, as a table of methods takes it. */
#define FUNCTION(function) ((PyCFunction)(void (*)(void))(function))
