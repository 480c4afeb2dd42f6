# Does a read end with what is there, or only when all that it asked for is?
dd if="$LIVE/log" bs=4096 count=1 >got 2>/dev/null & reader=$!
sleep 1
echo say first >"$LIVE/ctl"
i=0
while kill -0 $reader 2>/dev/null && [ $i -lt 30 ]; do sleep 0.1; i=$((i + 1)); done
if kill -9 $reader 2>/dev/null; then echo waits-for-all; else
  [ -s got ] && echo what-is-there || echo nothing
fi
wait $reader 2>/dev/null || true
