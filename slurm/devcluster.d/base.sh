# In: BASE as it was given. Out: BASE as a real path that Slurm can hold, ours to write; SLURM_CONF below it.
# shellcheck shell=bash disable=SC2154 # variables are set in ../devcluster

longest_base=64 # a step daemon's socket is BASE/spool/node99/node99_99999999.4294967295, and Linux allows 107 characters

check_base() {
  BASE=$(realpath -m -- "$BASE")
  # Spaces are fine. A comma ends AuthInfo's socket, brackets and % are Slurm's own, # and quotes end a value.
  [[ $BASE =~ ^/[A-Za-z0-9\ /._+@~:-]+$ ]] ||
    STATUS=2 die "--base '$BASE' has a character that slurm.conf cannot hold; use letters, digits, spaces and / . _ + @ ~ : -"
  ((${#BASE} <= longest_base)) ||
    STATUS=2 die "--base '$BASE' has ${#BASE} characters; sockets below it allow $longest_base. Choose a shorter one, e.g. under /tmp"
  export SLURM_CONF=$BASE/etc/slurm.conf
  [ -e "$BASE" ] || return 0
  [ -O "$BASE" ] || STATUS=2 die "'$BASE' belongs to $(stat -c %U "$BASE"), not to $(id -un); give --base"
  [ -e "$BASE/devcluster" ] || [ -z "$(ls -A "$BASE")" ] ||
    STATUS=2 die "'$BASE' holds something else than a devcluster; give --base an empty or a new folder"
}

need_config() { [ -s "$SLURM_CONF" ] || die "no cluster under '$BASE'; devcluster up starts one"; }

list_nodes() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$SLURM_CONF" 2>/dev/null; }

need_node() {
  need_config
  list_nodes | grep -qxF -- "$node" || STATUS=2 die "no node '$node'; there are: $(list_nodes | tr '\n' ' ')"
}

make_folders() { # a fresh cluster: nothing of an earlier one is read again, or job ids would mean two things
  mkdir -p "$BASE" && chmod 755 "$BASE" # other users must reach the configuration and the munge socket
  touch "$BASE/devcluster"
  ((UID != 0)) || warn_if_closed
  rm -rf "${BASE:?}"/{etc,run,log,state,spool,dev,munge,mysql}
  mkdir "$BASE"/{etc,run,log,state,spool,dev} && chmod 755 "$BASE"/{etc,run,log,spool,dev}
  chmod 700 "$BASE/state"
  mkdir -m 700 "$BASE/munge" && mkdir -m 755 "$BASE/run/munge"
  local i
  for ((i = 0; i < nodes; i++)); do mkdir "$BASE/spool/node$i"; done
}

warn_if_closed() {
  local folder=$BASE
  while [ "$folder" != / ]; do
    (((0$(stat -c %a "$folder") & 1) == 1)) || say "only root can use this cluster: '$folder' is closed to others"
    folder=$(dirname "$folder")
  done
}
