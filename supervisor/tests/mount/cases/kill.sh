# Does SIGKILL end a reader that waits?
cat "$LIVE/log" >/dev/null & reader=$!
sleep 1
kill -9 $reader
code=0; wait $reader || code=$?
[ $code = 137 ] && echo ended || echo "status-$code"
