#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Calls a function on a mod_serviceless fleet, with curl and openssl.
#
#   export SERVICELESS_URL=https://HOST/serviceless SERVICELESS_KEY_FILE=FILE
#   sh call.sh FUNCTION [JSON ...] [NAME:=JSON ...]
#
# Prints the answer.  Exit status: 0 ok, 1 any other outcome, 2 usage, 3 refused, no answer, or one that is not to be believed.
# shellcheck disable=SC2015,SC2059,SC2086 # lists of words are meant to be split, and bytes to be a format
set -euf

fail() {
    status=$1
    shift
    printf 'call.sh: %s\n' "$*" >&2
    exit "$status"
}

[ $# -gt 0 ] && [ -n "${SERVICELESS_URL:-}" ] && [ -n "${SERVICELESS_KEY_FILE:-}" ] ||
    fail 2 'usage: call.sh FUNCTION [JSON ...] [NAME:=JSON ...], with SERVICELESS_URL and SERVICELESS_KEY_FILE set'

# Bytes of a secret, as decimal numbers.
bytes_of() { printf '%s' "${1#whsec_}" | base64 -d | od -An -v -tu1; }

# HMAC-SHA256 in base64 of the text $2, as RFC 2104 defines it; $1: bytes of the key, at most 64.  openssl's own would take the key as an
# argument, which everybody sees who can list processes; printf is a part of the shell.
hmac() { { padded 92 $1; { padded 54 $1; printf %s "$2"; } | openssl dgst -sha256 -binary; } | openssl dgst -sha256 -binary | base64; }
padded() {
    with=$1
    shift
    while [ $# -lt 64 ]; do set -- "$@" 0; done
    printf "$(for byte; do printf '\\%03o' $((byte ^ with)); done)"
}

# A key file has a line for each key: id, secret, permissions.  The first one signs.  A node signs its answer with the fleet's key and, when
# another one asked, with that one too: the application's own key is enough to check it.
secrets=$(awk '{ sub(/#.*/, ""); gsub(/\r/, "") }
    NF && (!keys++ || NF == 2 || /[ \t]relay([ \t]|$)/) { print $2; broken += $2 !~ /^whsec_[A-Za-z0-9+\/]+=*$/ || length($2) < 38 }
    END { exit !keys || broken }' "$SERVICELESS_KEY_FILE") ||
    fail 3 "the key file $SERVICELESS_KEY_FILE cannot be read, or has a line that is not an id and a secret (whsec_…)"
signer=$(bytes_of "$(printf '%s\n' "$secrets" | head -n 1)")

# The call.  Arguments are pasted as they stand: a program that gets them from others must make sure that each is one JSON value.
args='' kwargs=''
function=$1
shift
for argument; do
    case $argument in
    [A-Za-z_]*:=*) kwargs="$kwargs,\"${argument%%:=*}\":${argument#*:=}" ;;
    *) args="$args,$argument" ;;
    esac
done
call="{\"function\":\"$function\",\"args\":[${args#,}],\"kwargs\":{${kwargs#,}}}"
directory=$(mktemp -d) || exit 3
trap 'rm -rf "$directory"' EXIT
trap 'exit 3' INT TERM HUP

# Sent again with the same id when it is not known what became of it: a call never runs twice.
id=$(openssl rand -hex 16)
unknown="; call $id may have been accepted" doubt=''
for try in 1 2 3; do
    [ $try = 1 ] || sleep 1
    now=$(date +%s)
    http=$(printf %s "$call" | curl -sS --connect-timeout 5 --max-time 60 -D "$directory/headers" -o "$directory/answer" -w '%{http_code}' \
        -H 'Content-Type: application/json' -H "webhook-id: $id" -H "webhook-timestamp: $now" \
        -H "webhook-signature: v1,$(hmac "$signer" "$id.$now.$call")" --data-binary @- "$SERVICELESS_URL") ||
        case $? in 1 | 3 | 5 | 6 | 7 | 35 | 60) http=unreached ;; *) http=none ;; esac # these of curl: nothing was sent
    case $http in unreached) ;; none | 5??) doubt=$unknown ;; *) break ;; esac
done
answer=$(cat "$directory/answer" 2>/dev/null) || answer=''
case $answer in
"{"*) words=$(printf %.500s "$answer" | LC_ALL=C tr -cd '[:print:]') ;;
*) words="this is a page of its httpd or of a proxy, not a node's answer: is it the URL of an endpoint, and may this address use it?" ;;
esac
case $http in
2??) ;;
none | unreached) fail 3 "no answer from $SERVICELESS_URL$doubt" ;;
*) fail 3 "$SERVICELESS_URL answered $http: $words$doubt" ;;
esac

# The answer counts only if a node signed it, for this call, and now.
awk -F ': ' '{ sub(/\r$/, ""); value[tolower($1)] = $2 }
    END { print value["webhook-id"]; print value["webhook-timestamp"]; print value["webhook-signature"] }' \
    "$directory/headers" >"$directory/signed"
{ read -r answer_id && read -r timestamp && read -r signatures; } <"$directory/signed"
# Signatures are compared by their hashes with a random salt: how long that takes tells nothing about them.
salted() { printf %s "$salt$1" | openssl dgst -sha256; }
is_believable() {
    case $answer_id in "$id":?*) ;; *) return 1 ;; esac
    case $timestamp in [1-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]) ;; *) return 1 ;; esac
    now=$(date +%s)
    [ $((now - timestamp)) -le 300 ] && [ $((timestamp - now)) -le 300 ] || return 1
    salt=$(openssl rand -hex 16)
    for secret in $secrets; do
        expected=$(salted "v1,$(hmac "$(bytes_of "$secret")" "$answer_id.$timestamp.$answer")")
        for entry in $signatures; do
            [ "$(salted "$entry")" != "$expected" ] || return 0
        done
    done
    return 1
}
is_believable || fail 3 "the answer of $SERVICELESS_URL is not signed by a node: it is not believed$unknown"
printf '%s\n' "$answer"
begin="{\"id\":\"$id\",\"node\":\"${answer_id#*:}\",\"outcome\":" # as nodes write it
case $answer in
"$begin\"ok\""* | "$begin\"accepted\""*) ;;
*) exit 1 ;;
esac
