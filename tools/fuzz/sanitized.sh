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
flags="-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
rm -rf "$root/build/sanitized"
(cd "$root" && STREAMLSTM_STRICT=1 CFLAGS="${CFLAGS:-} $flags" LDFLAGS="${LDFLAGS:-} $flags" \
    .venv-dev/bin/python setup.py --quiet build --build-lib build/sanitized)
preload=""
for library in libasan.so libubsan.so libstdc++.so.6; do # the last, so that its exceptions are known from the start
    preload="$preload $("$compiler" -print-file-name=$library)"
done
export PYTHONPATH="$root/build/sanitized${PYTHONPATH:+:$PYTHONPATH}" PYTHONMALLOC=malloc OMP_NUM_THREADS=1
export PYTHONSAFEPATH=1 # else `python -m` looks for the package where it is called first, and finds the checkout's
reports="$root/build/sanitized/report" # a test's own stderr ends with its process
export ASAN_OPTIONS="detect_leaks=0:halt_on_error=1:allocator_may_return_null=1:log_path=$reports"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$reports" STREAMLSTM_TEST_SANITIZED=1
status=0
LD_PRELOAD="${preload# }" "$@" || status=$?
if grep -hqs "ERROR: \|runtime error: " "$reports".*; then # what was too large to allocate is only a warning
    cat "$reports".* >&2
    status=1
fi
exit "$status"
