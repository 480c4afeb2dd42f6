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
c++:g++:building the fuzzer, which is C++
diodls:diod:testing with the 9P client of another project
fusermount3:fuse3:mounting trees without being root
busybox:busybox-static:the Linux guest that mounts what is tested
setpriv:util-linux:ending that guest with its test
xz:xz-utils:unpacking its kernel"
fi

if [ "$level" = bench ]; then
  needs="$needs
clang-19:clang-19:compiling the atoms that are measured, which are C
wasm-ld-19:lld-19:linking them
erlc:erlang-base:comparing messages with Erlang's machine
valgrind:valgrind:counting the instructions of a program"
fi

missing=()
while IFS=: read -r command package why; do
  if ! command -v "$command" >/dev/null; then
    say "missing: $command (package $package), for $why"
    missing+=("$package")
  fi
done <<<"$needs"

# Atoms in Rust are compiled for wasm32 by the compiler that is there, if it has that
# target, else by Debian's, which makes the target's libraries from its own source.
# (builder/src/atoms/toolchain.rs looks for the same.)
wasm32() {
  local libraries
  libraries=$(rustc --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) || libraries=
  if [ -n "$libraries" ] && [ -d "$libraries" ]; then return 0; fi
  [ -f /usr/lib/rustlib/src/rust/library/core/src/lib.rs ] && [ -x /usr/bin/cargo ] &&
    command -v wasm-ld-19 >/dev/null
}
if ! wasm32; then
  say "missing: Rust for wasm32-unknown-unknown, for compiling atoms"
  # One command where rustup is and reaches its server.
  if [ $check = yes ] || ! command -v rustup >/dev/null ||
    ! rustup target add wasm32-unknown-unknown >&2 || ! wasm32; then
    missing+=(rustc-web cargo-web rust-web-src lld-19)
  fi
fi

# Linux kernels are files here, never installed: a kernel package would change
# what this machine boots. Tests mount trees with Debian's stock kernel, since the
# cloud flavour has no 9P; boots are compared with the cloud flavour.
debian=target/atoll/debian
have() {
  local file release folder
  for file in {,"$debian"}/boot/vmlinuz-*-"$1"; do
    release=${file##*/vmlinuz-}
    case $release in *-"$1") ;; *) continue ;; esac
    [ -r "$file" ] || continue
    if [ "$1" = cloud-amd64 ]; then return 0; fi
    case $release in *-cloud-* | *-rt-*) continue ;; esac
    for folder in "${file%/boot/*}"/{,usr/}lib/modules/"$release"/kernel; do
      if [ -d "$folder/fs/9p" ] && [ -d "$folder/drivers/xen" ]; then return 0; fi
    done
  done
  return 1
}
kernels=()
if [ "$level" != demo ] && ! have amd64; then
  say "missing: Debian's kernel as a file (package linux-image-amd64), for mounting what is tested"
  kernels+=(amd64)
fi
if [ "$level" = bench ] && ! have cloud-amd64; then
  say "missing: Debian's cloud kernel as a file, for comparing boots"
  kernels+=(cloud-amd64)
fi

# So is Xen, with all that its dom0 runs: the lab boots it in QEMU.
xen=$debian/xen-4.17
xen_packages=(xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common xenstore-utils
  libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1
  libxenmisc4.17 libxenstore4 libxentoolcore1 libxentoollog1 libyajl2
  socat libwrap0 libnsl2 libtirpc3)
lab=no
if [ "$level" != demo ] && [ ! -d "$xen" ]; then
  say "missing: Xen 4.17 as files (package xen-hypervisor-4.17-amd64 and others), for the lab"
  lab=yes
fi

# Checks what other projects' crates may come in, and is one of those itself.
deny=no
if [ "$level" = ci ] && ! cargo deny --version >/dev/null 2>&1; then
  say "missing: cargo-deny, for checking dependencies"
  deny=yes
fi

if [ ${#missing[@]} = 0 ] && [ $deny = no ] && [ ${#kernels[@]} = 0 ] && [ $lab = no ]; then
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

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}
# The newest package that a kernel's package of no version stands for, if any.
version_of() {
  { apt-cache depends "linux-image-$1" 2>/dev/null || true; } |
    sed -n 's/^ *Depends: *\(linux-image-[0-9][^ ]*\)$/\1/p' | sed -n 1p
}
# What a guest may load: 9P, FUSE, the devices of QEMU, and what dom0 has for Xen.
modules='/kernel/(fs/(9p|fuse|fscache|netfs)|net/(9p|core|bridge|802|llc)'
modules+='|drivers/(virtio|char|char/hw_random|net|net/xen-netback|xen|xen/xenfs))/[^/]*\.ko'
new=
trap 'if [ -n "$new" ]; then rm -rf "$new"; fi' EXIT
# A kernel comes to its place last: what is there is whole.
fetch() {
  local package=$1 release=${1#linux-image-} list
  rm -rf "$new"
  new=$(mktemp -d "$debian/new.XXXXXX") && list=$new/list &&
    (cd "$new" && apt-get download -q "$package" >&2) &&
    dpkg-deb --fsys-tarfile "$new"/*.deb | tar -t | grep -E "^\./boot/vmlinuz-|$modules" >"$list" &&
    dpkg-deb --fsys-tarfile "$new"/*.deb | tar -x -C "$new" -T "$list" || return 1
  if [ -d "$new/usr/lib" ]; then mv "$new/usr/lib" "$new/lib"; fi
  mkdir -p "$debian/boot" "$debian/lib/modules" &&
    rm -rf "$debian/lib/modules/$release" &&
    mv "$new/lib/modules/$release" "$debian/lib/modules/" &&
    mv "$new/boot/vmlinuz-$release" "$debian/boot/"
}
for kernel in ${kernels[@]+"${kernels[@]}"}; do
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "this system has no apt-get; what needs the kernel linux-image-$kernel will be left out"
    continue
  fi
  mkdir -p "$debian"
  package=$(version_of "$kernel")
  if [ -n "$package" ]; then say "fetching the kernel $package into $debian"; fi
  if [ -z "$package" ] || ! fetch "$package"; then
    # The list of packages is not there on a new machine, and old on others.
    as_root apt-get update -q </dev/null >&2
    package=$(version_of "$kernel")
    if [ -z "$package" ]; then
      say "this system's packages have no linux-image-$kernel; what needs it will be left out"
      continue
    fi
    say "fetching the kernel $package into $debian"
    fetch "$package"
  fi
done
fetch_xen() {
  local package
  rm -rf "$new"
  new=$(mktemp -d "$debian/new.XXXXXX") && mkdir "$new/tree" &&
    (cd "$new" && apt-get download -q "${xen_packages[@]}" >&2) || return 1
  for package in "$new"/*.deb; do dpkg-deb -x "$package" "$new/tree" || return 1; done
  rm -rf "$new/tree/usr/share" && mv "$new/tree" "$xen"
}
if [ $lab = yes ]; then
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "this system has no apt-get; what needs Xen will be left out"
  else
    say "fetching Xen 4.17 into $xen"
    mkdir -p "$debian"
    if ! fetch_xen; then
      as_root apt-get update -q </dev/null >&2
      fetch_xen || say "this system's packages have no Xen 4.17; what needs it will be left out"
    fi
  fi
fi
if [ $deny = yes ]; then
  say "compiling cargo-deny"
  cargo install --quiet --locked --version 0.20.2 cargo-deny >&2
fi
say "all there"
