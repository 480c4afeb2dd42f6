# Are others served while a reader waits for a file that has nothing yet?
cat "$LIVE/log" >log & reader=$!
sleep 1
timeout 60 cat "$LIVE/README" >/dev/null && timeout 60 ls "$LIVE/many" >/dev/null && done=others-served
kill -0 $reader && echo "${done:-others-wait}"
kill -9 $reader; wait $reader 2>/dev/null || true
