#!/bin/sh
# Stands before rustc while a kernel is compiled (builder/src/flavour.rs).
#
# Cargo tells crates of one name apart by a number that it makes of where they
# lie, and that number is in the order of the functions of a kernel. For our own
# crates it is replaced by their name, so that a kernel is byte for byte the
# same wherever the checkout lies.
case $CARGO_MANIFEST_DIR in
"$ATOLL_ROOT"/*)
  for word do
    shift
    case $word in
    metadata=*) word=metadata=$CARGO_PKG_NAME/$CARGO_CRATE_NAME ;;
    esac
    set -- "$@" "$word"
  done
  ;;
esac
exec "$@"
