# Do appends of two who have it open go to the end?
exec 3>>"$FILES/append" 4>>"$FILES/append"
echo a >&3; echo b >&4; echo c >&3
exec 3>&- 4>&-
[ "$(cat "$FILES/append")" = "a
b
c" ] && echo at-the-end || echo elsewhere
