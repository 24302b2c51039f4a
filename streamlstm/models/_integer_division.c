/* Whole numbers divided beyond what they hold, answered on x86 as everywhere else.
 *
 * The least number of 64 or 32 bits over -1 has no answer in as many bits. ARM gives the dividend back, with a remainder
 * of 0; x86 traps, and the signal ends the process. onnxruntime looks for divisors of 0 and not for this, so one value
 * could end a daemon, again at each start. The trap is given ARM's answer, so that a model has the same bits on both. */

#define _GNU_SOURCE /* the registers' names */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__x86_64__) && defined(__linux__)

#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

static struct sigaction before;
static int answered;

enum { WIDE = 0x48, DIVIDE = 0xf7, SIGNED = 7 };

/* The length of a signed division at an address; 0 if there is something else. `wide`: of 64 bits, not 32. */
static int division_at(const uint8_t *at, int *wide) {
    int length = 0;
    *wide = 0;
    if ((at[length] & 0xf0) == 0x40) *wide = (at[length++] & WIDE) == WIDE;
    if (at[length++] != DIVIDE) return 0;
    int mode = at[length] >> 6, kind = at[length] >> 3 & 7, place = at[length] & 7;
    length++;
    if (kind != SIGNED) return 0;
    if (mode != 3 && place == 4) { /* base and index follow */
        if (mode == 0 && (at[length] & 7) == 5) length += 4;
        length++;
    }
    if (mode == 0 && place == 5) length += 4;
    return length + (mode == 1 ? 1 : mode == 2 ? 4 : 0);
}

/* Whether the dividend is the least number: no other one overflows, and divisors of 0 are looked for before. */
static int is_least(const greg_t *registers, int wide) {
    uint64_t low = (uint64_t)registers[REG_RAX], high = (uint64_t)registers[REG_RDX];
    if (wide) return low == (uint64_t)INT64_MIN && high == UINT64_MAX;
    return (uint32_t)low == (uint32_t)INT32_MIN && (uint32_t)high == UINT32_MAX;
}

static void on_trap(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    int wide, length = 0;
    if (info->si_code == FPE_INTDIV) length = division_at((const uint8_t *)registers[REG_RIP], &wide);
    if (length && is_least(registers, wide)) {
        registers[REG_RAX] = wide ? INT64_MIN : (greg_t)(uint32_t)INT32_MIN;
        registers[REG_RDX] = 0;
        registers[REG_RIP] += length;
        return;
    }
    sigaction(number, &before, NULL); /* all else is for whoever had it before */
    raise(number);
}

static PyObject *answer_overflow(PyObject *module, PyObject *nothing) {
    (void)module, (void)nothing;
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    if (!answered && sigaction(SIGFPE, &action, &before) < 0) return PyErr_SetFromErrno(PyExc_OSError);
    answered = 1;
    Py_RETURN_NONE;
}

#else

static PyObject *answer_overflow(PyObject *module, PyObject *nothing) {
    (void)module, (void)nothing;
    Py_RETURN_NONE;
}

#endif

static PyMethodDef functions[] = {
    {"answer_overflow", answer_overflow, METH_NOARGS, "Have overflowing divisions of this process answered."},
    {0},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "streamlstm.models._integer_division", "Divisions that overflow.", -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__integer_division(void) { return PyModule_Create(&definition); }
