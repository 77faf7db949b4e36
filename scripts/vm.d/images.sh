# shellcheck shell=bash
# What scripts/vm boots: a kernel, a Debian with systemd, and an archive with Kennel and its tests.
# Sourced after lib.sh, never run. All of it lies in $CACHE/vm; nothing but qemu and mmdebstrap is installed.

VM=$CACHE/vm
VM_DEBIAN=bookworm

ensure_vm() {
  [[ $(uname -m) == x86_64 ]] || die "the virtual machines are for x86-64 only, and this is $(uname -m)"
  mkdir -p "$VM"
  # Of a set-up that was cut short.
  local left
  for left in "$VM"/scratch.*; do
    [[ ! -d $left ]] || as_root rm -rf --one-file-system "$left"
  done
  have apt-get || die "the virtual machines are made of Debian's packages, and there is no apt-get here"
  system_package qemu-system-x86 qemu-system-x86_64
  system_package mmdebstrap mmdebstrap
  system_package e2fsprogs /sbin/mke2fs
  ensure_unpacked busybox busybox-static ./bin/busybox
  ensure_unpacked vmlinuz linux-image-cloud-amd64 './boot/vmlinuz-*'
  ensure_debian
}

# ensure_unpacked NAME PACKAGE FILE: $VM/NAME is that file of a Debian package, which is not installed for it.
ensure_unpacked() {
  if [[ -s $VM/$1 ]]; then
    already "vm: $1"
  else
    step "vm: $1" unpack_package "$@"
  fi
}

unpack_package() {
  local name=$1 package=$2 file=$3 needed scratch
  if ! apt-cache show --no-all-versions "$package" >/dev/null 2>&1; then
    as_root apt-get update -q
  fi
  # The name without a version depends on the newest kernel there is.
  needed=$(apt-cache depends --important "$package" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  package=${needed:-$package}
  scratch=$(mktemp -d "$VM/scratch.XXXXXX")
  (
    cd "$scratch" || exit
    apt-get download -q "$package" || { as_root apt-get update -q && apt-get download -q "$package"; }
    dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards "$file"
    find . -type f ! -name '*.deb' -exec mv {} "$VM/$name" \;
  )
  rm -rf "$scratch"
  [[ -s $VM/$name ]]
}

# The disk of the guest with systemd. Made anew when its recipe changes, that is: this file.
ensure_debian() {
  local stamp
  stamp=$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)
  if [[ -s $VM/debian.ext4 && $(cat "$VM/debian.stamp" 2>/dev/null) == "$stamp" ]]; then
    already "vm: Debian with systemd"
    return
  fi
  step "vm: Debian with systemd" make_debian
  printf '%s\n' "$stamp" >"$VM/debian.stamp"
}

make_debian() {
  local scratch mirror=() customize path options=()
  scratch=$(mktemp -d "$VM/scratch.XXXXXX")
  # Where this machine gets its own packages from, if they are of the same release; else where mmdebstrap knows.
  if grep -qs "^VERSION_CODENAME=$VM_DEBIAN\$" /etc/os-release; then
    for path in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
      [[ ! -s $path ]] || mirror+=("$path")
    done
  fi
  for path in doc man locale info; do options+=("--dpkgopt=path-exclude=/usr/share/$path/*"); done
  # shellcheck disable=SC2016  # for the shell in there
  customize='set -e
    echo "kennel:x:990:990:Kennel:/var/lib/kennel:/usr/sbin/nologin" >>"$1/etc/passwd"
    echo "kennel:x:990:" >>"$1/etc/group"
    echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"
    echo kennel >"$1/etc/hostname"
    for unit in e2scrub_all.timer fstrim.timer getty.target serial-getty@ttyS0.service systemd-timesyncd.service \
      systemd-logind.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
      systemd-firstboot.service systemd-random-seed.service systemd-pstore.service; do
      ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done'
  as_root env PATH="$PATH:/usr/sbin:/sbin" mmdebstrap --quiet --variant=essential --include=systemd-sysv "${options[@]}" \
    --customize-hook="$customize" --format=directory "$VM_DEBIAN" "$scratch/root" "${mirror[@]}"
  rm -f "$VM/debian.ext4"
  # Sparse: what is not written takes no room.
  truncate -s 1G "$VM/debian.ext4"
  as_root /sbin/mke2fs -q -F -t ext4 -O ^has_journal -d "$scratch/root" "$VM/debian.ext4"
  as_root rm -rf --one-file-system "$scratch"
}

# make_archive FILE PROGRAMS TOOLS UNIT: the initramfs of both guests, with the programs and the tools of two
# directories and the unit tests' program.
make_archive() {
  local file=$1 programs=$2 tools=$3 unit=$4 tree name library
  tree=$(mktemp -d)
  mkdir -p "$tree"/{bin,dev,proc,sys,run,tmp,root,new,etc/kennel,var/lib} \
    "$tree"/usr/local/{bin,lib/kennel-test} "$tree"/etc/systemd/system/{kennel.service.d,multi-user.target.wants}
  cp "$VM/busybox" "$tree/bin/busybox"
  install -m 755 "$ROOT/tests/vm/init" "$tree/init"
  printf 'root:x:0:0:root:/root:/bin/sh\nkennel:x:990:990:Kennel:/var/lib/kennel:/bin/false\n' >"$tree/etc/passwd"
  printf 'root:x:0:\nkennel:x:990:\n' >"$tree/etc/group"

  install -m 755 "$programs"/{kennel,kennel-agent-host} "$tree/usr/local/bin/"
  for name in "$tools"/{kennel-guest-suite,misbehaving-agent} "$unit"; do
    strip --strip-debug -o "$tree/usr/local/lib/kennel-test/$(basename "$name")" "$name"
  done
  mv "$tree/usr/local/lib/kennel-test/$(basename "$unit")" "$tree/usr/local/lib/kennel-test/unit-tests"
  # Where the misbehaving one looks for the real one.
  ln -s /usr/local/bin/kennel-agent-host "$tree/usr/local/lib/kennel-test/kennel-agent-host"
  # For the guest that has nothing of its own; Debian's libraries are used in the other.
  for library in $(ldd "$tree"/usr/local/bin/* "$tree"/usr/local/lib/kennel-test/* | grep -oE '/[^ ]+\.so[^ ]*' | sort -u); do
    install -D "$(realpath "$library")" "$tree$library"
  done

  install -m 644 "$ROOT/tests/vm/kennel.toml" "$tree/etc/kennel/"
  install -m 644 "$ROOT/config/kennel.service" "$ROOT"/tests/vm/*.service "$tree/etc/systemd/system/"
  install -m 644 "$ROOT/tests/vm/kennel-test.conf" "$tree/etc/systemd/system/kennel.service.d/"
  ln -s ../kennel-suite.service "$tree/etc/systemd/system/multi-user.target.wants/"

  (cd "$tree" && find . -print0 | "$VM/busybox" cpio -0 -o -H newc -R 0:0 2>/dev/null) >"$file"
  rm -rf "$tree"
}
