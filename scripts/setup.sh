#!/usr/bin/env bash
# Installs the Debian packages that the demo, the tests and the benchmarks need.
#
#   scripts/setup.sh [--check] [demo|test|bench|ci]
#
# --check only reports what is missing (exit code 1 when something is). bench
# and ci include test, which includes demo; without a word: test. ci also
# compiles cargo-deny where it is missing, which takes some minutes.
# Nothing is installed that is there already, and `apt-get update` runs only
# when something is missing. `cargo xtask demo`, `test` and `bench` call this.
set -euo pipefail
cd "$(dirname "$0")/.."

check=no
level=test
for word in "$@"; do
  case $word in
    --check) check=yes ;;
    demo | test | bench | ci) level=$word ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup: unknown word '$word'; known: --check, demo, test, bench, ci" >&2; exit 2 ;;
  esac
done

say() { echo "setup: $*" >&2; }
PATH=$PATH:/usr/sbin:/sbin

# What is needed: a command, the package that has it, and what for.
needs="cc:gcc:linking Rust programs
qemu-system-x86_64:qemu-system-x86:booting a guest as a virtual machine"
if [ "$level" != demo ]; then
  needs="$needs
diodls:diod:testing with the 9P client of another project"
fi
if [ "$level" = bench ]; then
  needs="$needs
busybox:busybox-static:the Linux guest that boots are compared with
cpio:cpio:packing that guest"
fi

missing=()
while IFS=: read -r command package why; do
  if ! command -v "$command" >/dev/null; then
    say "missing: $command (package $package), for $why"
    missing+=("$package")
  fi
done <<<"$needs"

# The Linux kernel that boots are compared with is a file, never installed: a
# kernel package would change what this machine boots.
linux=
if [ "$level" = bench ]; then
  for file in /boot/vmlinuz-*-cloud-amd64 target/atoll/debian/boot/vmlinuz-*-cloud-amd64; do
    if [ -r "$file" ]; then linux=$file; fi
  done
  if [ -z "$linux" ]; then
    say "missing: Debian's cloud kernel as a file, for comparing boots"
  fi
fi
want_linux() { [ "$level" = bench ] && [ -z "$linux" ]; }

# Checks what other projects' crates may come in, and is one of those itself.
deny=no
if [ "$level" = ci ] && ! cargo deny --version >/dev/null 2>&1; then
  say "missing: cargo-deny, for checking dependencies"
  deny=yes
fi

if [ ${#missing[@]} = 0 ] && [ $deny = no ] && ! want_linux; then
  exit 0
fi
if [ $check = yes ]; then
  say "run scripts/setup.sh $level to install what is missing"
  exit 1
fi
if [ ${#missing[@]} != 0 ] && ! command -v apt-get >/dev/null; then
  say "this system has no apt-get: install by its own means: ${missing[*]:-}"
  say "(the names are Debian's; QEMU for x86-64, and the diod tools from https://github.com/chaos/diod)"
  exit 1
fi

root=()
if [ "$(id -u)" != 0 ] && [ ${#missing[@]} != 0 ]; then
  if ! command -v sudo >/dev/null; then
    say "installing needs root, and there is no sudo; as root, run:"
    say "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    exit 1
  fi
  root=(sudo)
fi

export DEBIAN_FRONTEND=noninteractive
if [ ${#missing[@]} != 0 ]; then
  say "installing ${missing[*]}"
  "${root[@]}" apt-get update -q </dev/null >&2
  "${root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null >&2
fi
if want_linux; then
  say "fetching Debian's cloud kernel into target/atoll/debian"
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p')
  if [ -z "$package" ]; then
    say "this system's packages have no linux-image-cloud-amd64; that comparison will be left out"
    exit 0
  fi
  mkdir -p target/atoll/debian
  (cd target/atoll/debian && apt-get download -q "$package" >&2 && dpkg-deb -x "$package"_*.deb . && rm -- *.deb)
fi
if [ $deny = yes ]; then
  say "compiling cargo-deny"
  cargo install --quiet --locked --version 0.20.2 cargo-deny >&2
fi
say "all there"
