#!/bin/bash
# In: a Debian or Ubuntu host, root or sudo. Out: a working `apptainer` with what it needs to build and to run images.
# Where the release carries the package, that is all. Debian 12 does not: there the program of Debian sid is installed
# beside a private copy of the C library that it was linked with. The host's own C library is not touched.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

helpers=(squashfs-tools squashfuse fuse-overlayfs fuse2fs fakeroot uidmap libseccomp2 libsqlite3-0 debootstrap ca-certificates)
private_libc=/opt/apptainer-libc
config=/etc/apptainer/apptainer.conf
newer=sid

say() { printf 'install-apptainer: %s\n' "$*"; }
die() { printf 'install-apptainer: %s\n' "$*" >&2 && exit 1; }

main() {
  if works && command -v debootstrap >/dev/null; then
    say "already there: $(apptainer --version)"
    ((UID == 0)) || return 0
  else
    command -v apt-get >/dev/null || die "no apt-get here; see https://apptainer.org/docs for this system"
    ((UID == 0)) || exec sudo -- "$0"
    works || install_packaged || install_beside "$(debian_mirror)"
    quiet apt_get install "${helpers[@]}"
    works || die "installed, but it does not run: $(apptainer --version 2>&1 | tail -n 1)"
    say "installed $(apptainer --version)"
  fi
  allow_limited_root
  open_fuse
}

works() { apptainer --version >/dev/null 2>&1; }

apt_get() { apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"; }

quiet() { # COMMAND...: its output only if it fails
  local log
  log=$(mktemp)
  "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2 && die "failed: $*"; }
  rm -f "$log"
}

install_packaged() {
  quiet apt_get update
  [[ $(apt-cache policy apptainer) =~ Candidate:\ [^\(] ]] || return 1
  quiet apt_get install apptainer
}

# apt itself says where this machine gets Debian from; whatever the format of its sources, and through whatever mirror.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016 # apt fills these in
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' |
    awk '$1 == "Debian" && $2 == "main" && $3 !~ /security/ { print $3; exit }')
  [ -n "$mirror" ] || die "this release has no apptainer package and apt knows no Debian mirror to take it from"
  echo "$mirror"
}

install_beside() { # MIRROR
  local work
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$work'" EXIT
  download "$1" "$work"
  quiet apt_get install patchelf
  dpkg-deb -x "$work"/apptainer_*.deb "$work/program"
  dpkg-deb -x "$work"/libc6_*.deb "$work/libc"
  copy_program "$work/program"
  works || give_private_libc "$work/libc"
}

download() { # MIRROR FOLDER: with lists of its own, so that apt never offers the host a package of sid
  local apt=(-o Dir::Etc::SourceList="$2/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$2/lists"
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
  mkdir -p "$2/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $1 $newer main" >"$2/sources.list"
  quiet apt_get "${apt[@]}" update
  (cd "$2" && quiet apt_get "${apt[@]}" download apptainer libc6)
}

copy_program() { # ROOT
  local libexec
  libexec=$(cd "$1" && echo usr/lib/*/apptainer)
  mkdir -p "/$libexec" /var/lib/apptainer/mnt/session
  cp -a "$1/$libexec/." "/$libexec/"
  cp -a "$1/etc/apptainer" /etc/
  cp -a "$1/usr/bin/apptainer" "$1/usr/bin/run-singularity.apptainer" /usr/bin/
  ln -sf apptainer /usr/bin/singularity
  ln -sf run-singularity.apptainer /usr/bin/run-singularity
  mkdir -p "/$libexec/bin"
}

# An RPATH, not a RUNPATH: it also holds for the libraries that the libraries need.
give_private_libc() { # ROOT
  local loader folder file
  loader=$(cd "$1" && find usr/lib -name 'ld-linux*.so.*' | head -n 1)
  folder=/$(dirname "$loader")
  mkdir -p "$private_libc"
  cp -a "$1$folder"/*.so* "$private_libc/"
  for file in /usr/bin/apptainer "$folder/apptainer/bin/starter"; do
    patchelf --set-interpreter "$private_libc/$(basename "$loader")" \
      --force-rpath --set-rpath "$private_libc:${folder#/usr}:$folder" "$file"
  done
}

# Apptainer gives a container's root all capabilities and fails where root itself (in many virtual machines) lacks one.
allow_limited_root() {
  local bounding last
  bounding=$((16#$(awk '/^CapBnd/ { print $2 }' /proc/self/status)))
  last=$(cat /proc/sys/kernel/cap_last_cap)
  ((bounding != (1 << (last + 1)) - 1)) || return 0
  grep -q '^root default capabilities = full' "$config" || return 0
  sed -i 's/^root default capabilities = full/root default capabilities = no/' "$config"
  say "root lacks capabilities on this machine; set 'root default capabilities = no' in $config"
}

open_fuse() { # as udev does where it runs; without it only root can mount an image
  [ -c /dev/fuse ] && [ "$(stat -c %a /dev/fuse)" != 666 ] || return 0
  chmod 666 /dev/fuse
  say "opened /dev/fuse to ordinary users"
}

main
