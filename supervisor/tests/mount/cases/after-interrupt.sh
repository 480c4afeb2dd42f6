# Is the mount as before when a reader was interrupted?
timeout -s INT -k 60 1 cat "$LIVE/log" >/dev/null 2>&1 || true
timeout 60 cat "$LIVE/README" >/dev/null && echo as-before || echo broken
