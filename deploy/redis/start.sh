#!/bin/sh
# Start Redis with redis.conf and the users of users.acl, both beside this file, each user with the password in the file
# of the same name in $PASSWORDS; a user without one stays shut out. Options of redis-server may follow.
#   PASSWORDS=/run/secrets start.sh --dir /var/lib/redis
# MAKE_PASSWORDS=1 makes the passwords that are missing, as compose.yaml does at its first start.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
passwords=${PASSWORDS:-/passwords}
acl=${TMPDIR:-/tmp}/users.acl

made=
while read -r word name rules; do
    [ "$word" = user ] || continue
    secret=$passwords/$name
    if [ -n "${MAKE_PASSWORDS:-}" ] && [ "$name" != default ] && [ ! -s "$secret" ]; then
        head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$secret"
        chmod 444 "$secret"
    fi
    if [ -s "$secret" ]; then # its hash, so that any character may be in it and none is in a file
        rules="$rules #$(printf %s "$(cat "$secret")" | sha256sum | cut -d ' ' -f 1)"
    fi
    made="$made$word $name $rules
"
done <"$here/users.acl"
printf %s "$made" >"$acl"

# The official image's entry point gives up root for the user redis.
server=redis-server
command -v docker-entrypoint.sh >/dev/null && server="docker-entrypoint.sh redis-server"
exec $server "$here/redis.conf" --aclfile "$acl" "$@"
