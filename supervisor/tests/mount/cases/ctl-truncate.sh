# Is `echo verb >ctl`, with its O_TRUNC, one write and nothing else?
before=$(cat "$LIVE/writes")
echo level 7 >"$LIVE/ctl" || { echo refused; exit; }
after=$(cat "$LIVE/writes")
[ "$(cat "$LIVE/level")" = 7 ] && [ $((after - before)) = 1 ] && echo one-write || echo "$((after - before))-writes"
