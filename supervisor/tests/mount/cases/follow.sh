# Does a shell's loop get lines as they come?
while read -r line; do echo "saw $line"; done <"$LIVE/log" >saw & reader=$!
sleep 1
echo say one >"$LIVE/ctl"
i=0
until grep -q 'saw .*one' saw || [ $i -ge 300 ]; do sleep 0.1; i=$((i + 1)); done
if grep -q 'saw .*one' saw; then echo line-by-line; else echo late; fi
kill -9 $reader; wait $reader 2>/dev/null || true
