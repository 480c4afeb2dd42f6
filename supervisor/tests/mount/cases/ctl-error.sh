# Is a writer told at once that its command was refused, and by which number?
if echo jump >"$LIVE/ctl" 2>said; then echo silent; else
  case "$(cat said)" in *nvalid*) echo EINVAL ;; *) cat said ;; esac
fi
