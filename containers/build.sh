#!/bin/bash
# In: a definition file, the lock, a base. Out: an image that passed its own %test. Nothing of the host's pip
# configuration, of which it makes use while it builds, stays in the image.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

usage() {
  cat <<'TEXT'
build.sh cpu|cuda|rocm [options]: build the Apptainer image of that kind.

  --output FILE       the image (sft-cpu.sif, ... in this folder)
  --base BASE         what to build on: a SIF file, a folder with a root file system, or docker://NAME@sha256:DIGEST.
                      Default: cpu, a Debian that debootstrap makes (as root; kept for the next build); else the
                      digest in the definition file
  --extras LIST       extras of pyproject.toml (train,qlora,deepspeed)
  --with LIST         further packages (scikit-learn)
  --torch-index URL   where pip finds torch for this kind, if its configuration does not know: https://download.pytorch.org/whl/
                      and cpu, cu130 or rocm7.2 (the default for rocm)
  --compression NAME  gzip (default; every runtime reads it), zstd, lz4...; with a level as zstd:3 (quick to build)
  --allow-unlocked    go on when something is installed that constraints.txt does not pin
  --fresh-base        make the Debian base again

Works as an ordinary user, as root, and as a root that lacks capabilities (the build is then handed to `nobody`).
Example: containers/build.sh cpu --output /scratch/images/sft-cpu.sif
TEXT
}

say() { printf 'build.sh: %s\n' "$*"; }
die() { printf 'build.sh: %s\n' "$*" >&2 && exit "${STATUS:-1}"; }

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
root=$(dirname "$here")
flavour='' output='' base='' torch_index='' compression=gzip allow_unlocked=no fresh_base=no
extras=train,qlora,deepspeed with=scikit-learn
while (($#)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --allow-unlocked) allow_unlocked=yes && shift && continue ;;
    --fresh-base) fresh_base=yes && shift && continue ;;
    cpu | cuda | rocm) flavour=$1 && shift && continue ;;
    --output | --base | --extras | --with | --torch-index | --compression) (($# > 1)) || STATUS=2 die "$1 needs a value" ;;
    *) STATUS=2 die "no option $1; build.sh --help lists them" ;;
  esac
  case $1 in
    --output) output=$2 ;;
    --base) base=$2 ;;
    --extras) extras=$2 ;;
    --with) with=$2 ;;
    --torch-index) torch_index=$2 ;;
    --compression) compression=$2 ;;
  esac
  shift 2
done
[ -n "$flavour" ] || { usage && exit 2; }
[ "$flavour" != rocm ] || torch_index=${torch_index:-https://download.pytorch.org/whl/rocm7.2}
output=$(realpath -m -- "${output:-sft-$flavour.sif}")

main() {
  command -v apptainer >/dev/null || die "no apptainer here; run containers/install-apptainer.sh"
  work=$(mktemp -d "${TMPDIR:-/tmp}/sft-build-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/mnt" "$work/tmp" "$work/cache" "$(dirname "$output")"
  cp "$here/install.sh" "$root/constraints.txt" "$root/pyproject.toml" "$work/mnt/"
  printf 'extras=%q with=%q torch_index=%q allow_unlocked=%q\n' "$extras" "$with" "$torch_index" "$allow_unlocked" >"$work/mnt/options"
  hand_in_pip_configuration
  choose_base
  say "building $output from ${base_id:-the digest in $flavour.def}"
  build
  say "done: $(du -h --apparent-size "$output" | cut -f1), sha256 $(sha256sum "$output" | cut -d' ' -f1)"
}

# Local folders that pip reads (find-links, file: indexes) are bound; two levels up, as indexes link to their neighbours.
hand_in_pip_configuration() {
  python3 - "$work/mnt" >"$work/binds" <<'PY'
import ast, re, shutil, subprocess, sys
from pathlib import Path
mnt = Path(sys.argv[1])
shown = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
values = {key.rpartition(".")[2]: ast.literal_eval(found[key]) for key in sorted(found, key=lambda k: k.startswith(":env:"))}
mounts = {}
def inside(match):
    scheme, path = match.groups()
    parts = Path(path).parts
    top = "/".join(parts[:3])[1:]
    mounts.setdefault(top, f"/mnt/host{len(mounts)}")
    return scheme + "/".join([mounts[top], *parts[3:]])
for key in ("cert", "client-cert"):
    if key in values and Path(values[key]).is_file():
        shutil.copy(values[key], mnt / key)
        values[key] = f"/mnt/{key}"
for key in ("find-links", "index-url", "extra-index-url"):
    if key in values:
        words = values[key].split()
        words = [re.sub(r"^((?:file://)?)(/.*)", inside, word) for word in words]
        values[key] = " ".join(words)
wanted = ("find-links", "index-url", "extra-index-url", "cert", "client-cert", "proxy", "trusted-host", "no-index",
          "timeout", "default-timeout", "retries")
lines = [f"{key} = {values[key]}" for key in wanted if key in values]
(mnt / "pip.conf").write_text("\n".join(["[global]", *lines]) + "\n")
for top, at in mounts.items():
    (mnt / Path(at).name).mkdir()
    print(f"{top}:{at}:ro")
PY
}

choose_base() { # sets bootstrap, base, base_id; all empty: what the definition file says
  bootstrap='' base_id=''
  case $base in
    '') [ "$flavour" != cpu ] || use_debian ;;
    docker://*@sha256:*) bootstrap=docker base=${base#docker://} base_id=$base ;;
    docker://*) STATUS=2 die "--base $base can change under you; add the digest: $base@sha256:..." ;;
    *)
      [ -e "$base" ] || STATUS=2 die "--base $base: no such file or folder"
      use_local "$base" "$(basename "$base")"
      ;;
  esac
}

use_debian() {
  local kept
  kept=${XDG_CACHE_HOME:-$HOME/.cache}/sftlib/debian-bookworm-$(dpkg --print-architecture).sif
  if [ "$fresh_base" = yes ] || [ ! -s "$kept" ]; then make_debian "$kept"; fi
  use_local "$kept" debian:bookworm
}

make_debian() { # FILE
  ((UID == 0)) || die "debootstrap needs root for the Debian base; give --base, or run once as root"
  command -v debootstrap >/dev/null || die "no debootstrap here; run containers/install-apptainer.sh"
  say "making a Debian base with debootstrap (two minutes; kept in $1)"
  local mirror
  # shellcheck disable=SC2016 # apt fills these in
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
    awk '$1 == "Debian" && $2 == "main" && $3 !~ /security/ { print $3; exit }')
  {
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/debian" ${mirror:+"$mirror"} &&
      chroot "$work/debian" apt-get -qq -y --no-install-recommends install g++ python3-dev # apart: apt can then remove them again
  } >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2 && die "debootstrap failed"; }
  rm -rf "$work"/debian/dev/* "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/*
  mkdir -p "$(dirname "$1")"
  squash "$1" "$work/debian"
  rm -rf "$work/debian"
}

# All files root's: an ordinary user's build has one user id to give, and could not unpack a file of another.
squash() { # FILE SOURCE
  APPTAINER_TMPDIR=$work/tmp apptainer --quiet build --force --mksquashfs-args=-all-root "$1.new" "$2" && mv "$1.new" "$1"
}

use_local() { # SOURCE NAME
  bootstrap=localimage base=$work/base
  if [ -d "$1" ]; then squash "$base" "$1"; else cp "$1" "$base"; fi
  base_id="$2@sha256:$(sha256sum "$base" | cut -d' ' -f1)"
}

build() {
  local revision arguments=() binds=(--bind "$work/mnt:/mnt:ro") as=() mount
  revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
  [ -z "$(git -C "$root" status --porcelain 2>/dev/null | head -n 1)" ] || revision+=-dirty
  arguments=(--build-arg "revision=$revision")
  [ -z "$bootstrap" ] || arguments+=(--build-arg "bootstrap=$bootstrap" --build-arg "base=$base" --build-arg "base_id=$base_id")
  while read -r mount; do binds+=(--bind "$mount"); done <"$work/binds"
  if ((UID == 0)) && lacks_capabilities; then
    chown -R nobody "$work"
    as=(runuser -u nobody --)
  fi
  (cd "$work" && "${as[@]}" env HOME="$work" APPTAINER_CACHEDIR="$work/cache" APPTAINER_TMPDIR="$work/tmp" apptainer build \
    "${binds[@]}" "${arguments[@]}" --mksquashfs-args "$(squash_options)" "$work/image.sif" /dev/stdin <"$here/$flavour.def")
  cp "$work/image.sif" "$output.new"
  chmod 644 "$output.new"
  mv "$output.new" "$output"
}

squash_options() {
  case $compression in
    *:*) echo "-comp ${compression%:*} -Xcompression-level ${compression##*:}" ;;
    *) echo "-comp $compression" ;;
  esac
}

# Apptainer's %post wants every capability that root usually has; in many virtual machines root lacks one.
lacks_capabilities() {
  local effective
  effective=$((16#$(awk '/^CapEff/ { print $2 }' /proc/self/status)))
  ((effective != (1 << ($(cat /proc/sys/kernel/cap_last_cap) + 1)) - 1))
}

main
