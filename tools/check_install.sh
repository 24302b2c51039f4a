#!/usr/bin/env bash
# Whether an installed streamlstm works here, in a minute: the demo, then the packaged table and model served, pushed, read,
# verified and evaluated, and the page asked for. Nothing is left behind. tools/check_install.sh [STREAMLSTM]
set -euo pipefail
program=$(command -v "${1:-streamlstm}")
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"

"$program" demo --fast
"$program" demo --files > files
table=$(sed -n 1p files) model=$(sed -n 2p files)
"$program" serve "$model" --http 127.0.0.1:0 &
daemon=$!
"$program" push values "$table" --wait 1m
"$program" tail values --no-follow --last 3
"$program" verify "$model" values
"$program" evaluate "$model" "$table" --test-size 36 --baselines none
page=$(sed -n 's/.*"http": *"\([^"]*\)".*/\1/p' streamlstm-data/serve.json)
if command -v curl > /dev/null; then
    curl --silent --show-error --fail "$page/" | grep -o '<title>.*</title>'
fi
kill "$daemon"
wait "$daemon"
echo "streamlstm works here: $("$program" --version)"
