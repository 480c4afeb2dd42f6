#!/bin/sh
# Stands before rustc while a kernel (builder/src/flavour.rs) or an atom
# (builder/src/atoms/rust.rs) is compiled.
#
# Cargo tells crates of one name apart by a number that it makes of where they
# lie, and that number is in the order of the functions of a program. For our own
# crates it is replaced by their name, so that the result is byte for byte the
# same wherever the checkout lies.
case $CARGO_MANIFEST_DIR in
"$ATOLL_ROOT"/* | "${ATOLL_ATOM:-$ATOLL_ROOT}")
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
