# Is `echo verb >>ctl` one write?
before=$(cat "$LIVE/writes")
echo level 8 >>"$LIVE/ctl" || { echo refused; exit; }
after=$(cat "$LIVE/writes")
[ "$(cat "$LIVE/level")" = 8 ] && [ $((after - before)) = 1 ] && echo one-write || echo "$((after - before))-writes"
