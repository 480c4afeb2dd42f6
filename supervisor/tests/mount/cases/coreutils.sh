# Do the everyday tools work? Prints the first that does not.
cd "$FILES"
set -e
trap 'echo "line-$step"' EXIT
step=mkdir; mkdir -p w/a/b
step=echo; echo one >w/f; echo two >>w/f
step=cat; [ "$(cat w/f)" = "one
two" ]
step=cp; cp w/f w/a/g; cmp w/f w/a/g
step=cp-r; cp -r w/a w/c; [ -f w/c/g ]
step=mv; mv w/a/g w/a/b/h; [ ! -e w/a/g ]; [ "$(wc -c <w/a/b/h)" = 8 ]
step=ln; ln w/f w/l; [ "$(stat -c %h w/f)" = 2 ]
step=ln-s; ln -s f w/s; [ "$(readlink w/s)" = f ]; [ "$(cat w/s)" = "$(cat w/f)" ]
step=chmod; chmod 640 w/f; [ "$(stat -c %a w/f)" = 640 ]
step=touch; touch -d '2001-02-03 04:05:06' w/f; [ "$(date -r w/f +%Y-%m-%d)" = 2001-02-03 ]
step=truncate; truncate -s 3 w/f; [ "$(cat w/f)" = one ]; truncate -s 0 w/f; [ ! -s w/f ]
step=dd; dd if=/dev/zero of=w/z bs=64k count=20 2>/dev/null; [ "$(stat -c %s w/z)" = 1310720 ]
step=dd-notrunc; printf abc | dd of=w/z bs=1 seek=70000 conv=notrunc 2>/dev/null
[ "$(dd if=w/z bs=1 skip=70000 count=3 2>/dev/null)" = abc ]
step=df; df w >/dev/null
step=ls; [ "$(ls -a w | grep -c '^[a-z]')" = 6 ]; ls -la w >/dev/null
step=find; [ "$(find w -type f | sort | tr '\n' ' ')" = "w/a/b/h w/c/g w/f w/l w/z " ]
step=rm; rm w/l w/s w/z; [ ! -e w/z ]
step=rmdir; rmdir w/c/b; ! rmdir w/a 2>/dev/null
step=rm-r; rm -r w; [ ! -e w ]
trap - EXIT
echo all
