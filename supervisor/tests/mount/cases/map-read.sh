# Does a mapping with MAP_SHARED show the file, and what others have written since?
echo first >"$FILES/mapped"
one=$("$MAPPED" read "$FILES/mapped") || { echo "$one"; rm "$FILES/mapped"; exit; }
echo second thoughts >"$FILES/mapped"
two=$("$MAPPED" read "$FILES/mapped")
rm "$FILES/mapped"
[ "$one, $two" = "first, second thoughts" ] && echo shows || echo "$one, $two"
