# Does an editor's rename put a new file in the place of the old?
echo old >"$FILES/text"
echo new >"$FILES/.text.new"
mv "$FILES/.text.new" "$FILES/text"
[ "$(cat "$FILES/text")" = new ] && [ ! -e "$FILES/.text.new" ] && echo replaced || echo lost
