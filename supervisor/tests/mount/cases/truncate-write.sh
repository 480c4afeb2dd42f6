# Is a file that is shortened and written again what was written?
echo a long first line >"$FILES/text"
echo short >"$FILES/text"
[ "$(cat "$FILES/text")" = short ] && [ "$(stat -c %s "$FILES/text")" = 6 ] && echo exact || echo mixed
