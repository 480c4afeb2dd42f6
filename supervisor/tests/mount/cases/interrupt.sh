# Does a signal end a reader that waits, or only SIGKILL?
code=0
timeout -s INT -k 60 2 cat "$LIVE/log" >/dev/null 2>&1 || code=$?
[ $code = 137 ] && echo only-by-kill || echo ended
