# Is a file that is there refused to whoever wants to make it (O_EXCL)?
echo old >"$FILES/exclusive"
(set -C; echo new >"$FILES/exclusive") 2>/dev/null && echo taken || true
[ "$(cat "$FILES/exclusive")" = old ] && echo refused || echo overwritten
