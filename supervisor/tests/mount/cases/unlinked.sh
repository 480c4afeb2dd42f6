# Can a file be read that was removed while it is open?
echo text >"$FILES/unlinked"
exec 3<"$FILES/unlinked"
rm "$FILES/unlinked"
[ "$(cat <&3 2>/dev/null)" = text ] && echo readable || echo unreadable
