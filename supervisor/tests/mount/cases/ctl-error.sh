# Is a writer told at once that its command was refused, and by which number?
if echo jump | dd of="$LIVE/ctl" conv=notrunc 2>said; then echo silent; else
  case "$(cat said)" in *nvalid\ argument*) echo EINVAL ;; *) cat said ;; esac
fi
