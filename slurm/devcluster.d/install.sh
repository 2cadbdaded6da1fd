# In: nothing. Out: Slurm, munge and MariaDB from the distribution's own packages, none of them started as a service.
# shellcheck shell=bash

wanted_packages=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server mariadb-client procps util-linux)

install_packages() {
  local package missing=()
  for package in "${wanted_packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  ((${#missing[@]})) || { say "all packages are there ($(slurmd -V))" && return 0; }
  command -v apt-get >/dev/null || die "no apt-get here; install Slurm, munge and MariaDB as this system does"
  local as_root=()
  ((UID == 0)) || as_root=(sudo)
  say "installing ${missing[*]}"
  "${as_root[@]}" bash -c "$install_as_root" devcluster "${missing[@]}"
  say "installed $(slurmd -V)"
}

# policy-rc.d keeps the packages from starting a munge, a Slurm and a MariaDB of the host's own, which nobody asked for.
# shellcheck disable=SC2016 # expanded by the inner shell
install_as_root='
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap "rm -f $policy" EXIT
  printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy"
fi
get="apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install"
log=$(mktemp)
$get "$@" >"$log" 2>&1 || { apt-get -qq update && $get "$@" >"$log" 2>&1; } || { tail -n 20 "$log" >&2; exit 1; }
rm -f "$log"
'
