# Can a file be written by way of a mapping with MAP_SHARED?
head -c 8192 /dev/zero | tr '\0' x >"$FILES/mapped"
said=$("$MAPPED" write "$FILES/mapped" hello) || { echo "$said"; rm "$FILES/mapped"; exit; }
{ printf hello; head -c 8187 /dev/zero | tr '\0' x; } >"$TMP/want"
cmp -s "$FILES/mapped" "$TMP/want" && echo written || head -c 10 "$FILES/mapped"
rm "$FILES/mapped"
