#!/usr/bin/env bash
# Run a command with the compiled parts under the address and undefined-behaviour sanitizers: they are built into
# build/sanitized, a package that comes first on the path; those of the checkout stay as they are. What either finds ends
# the process. Python itself leaks by design at its end, so leaks are not looked for; each of its objects is an
# allocation of its own, so that what is written beyond one is seen.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=${CC:-gcc}
if [ "$(uname -s)" != Linux ] || ! command -v "${compiler%% *}" >/dev/null; then
    echo "not run under the sanitizers: that takes gcc on Linux" >&2
    [ -z "${CI:-}" ]
    exit
fi
"$root/.venv-dev/bin/python" "$root/hatch_build.py" --sanitized "$root/build/sanitized"
preload=""
for library in libasan.so libubsan.so libstdc++.so.6; do # the last, so that its exceptions are known from the start
    preload="$preload $("$compiler" -print-file-name=$library)"
done
export PYTHONPATH="$root/build/sanitized${PYTHONPATH:+:$PYTHONPATH}" PYTHONMALLOC=malloc OMP_NUM_THREADS=1
reports="$root/build/sanitized/report" # a test's own stderr ends with its process
rm -f "$reports".*
export ASAN_OPTIONS="detect_leaks=0:halt_on_error=1:allocator_may_return_null=1:log_path=$reports"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$reports" STREAMLSTM_TEST_SANITIZED=1
status=0
LD_PRELOAD="${preload# }" "$@" || status=$?
if grep -hqs "ERROR: \|runtime error: " "$reports".*; then # what was too large to allocate is only a warning
    cat "$reports".* >&2
    status=1
fi
exit "$status"
