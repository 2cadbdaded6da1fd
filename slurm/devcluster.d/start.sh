# In: the configuration. Out: running daemons, in the order in which they need each other.
# shellcheck shell=bash disable=SC2154 # variables are set in ../devcluster

up() {
  if daemon_pid slurmctld >/dev/null; then
    say "already up under '$BASE' (devcluster down ends it)" && return 0
  fi
  command -v slurmctld slurmd munged sbatch >/dev/null || die "Slurm is not installed; run: devcluster install"
  [ "$accounting" = no ] || command -v slurmdbd mariadbd >/dev/null || die "slurmdbd or MariaDB is missing; run: devcluster install"
  down >/dev/null # what a crashed cluster left
  check_ports
  make_folders
  write_config
  trap 'failed_start' EXIT
  start_munge
  [ "$accounting" = no ] || start_accounting
  start_controller -c
  local name
  for name in $(list_nodes); do start_slurmd "$name"; done
  await 300 "the nodes are not idle" nodes_are_idle
  trap - EXIT
  say "up: $nodes nodes, controller on 127.0.0.1:$port, logs in '$BASE/log'"
  say "now: eval \"\$($0 env --base '$BASE')\""
}

failed_start() {
  say "start failed; the last lines of each log:" >&2
  tail -n 4 "$BASE"/log/*.log >&2
  down >/dev/null
}

await() { # DECISECONDS COMPLAINT COMMAND...
  local i
  for ((i = 0; i < $1; i++)); do
    "${@:3}" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  die "$2 after $(($1 / 10)) s"
}

check_ports() {
  local p
  for p in "$port" $((port + 1)) $(seq $((port + 10)) $((port + 9 + nodes))); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then
      STATUS=2 die "port $p is in use, perhaps by another devcluster; give --port"
    fi
  done
}

# --force: BASE may lie in a folder that is closed to others, such as XDG_RUNTIME_DIR, which munge by itself refuses.
start_munge() {
  munged --force --key-file="$BASE/munge/key" --socket="$BASE/run/munge/socket" --pid-file="$BASE/run/munge/pid" \
    --log-file="$BASE/munge/munged.log" --seed-file="$BASE/munge/seed" --num-threads=4 2>"$BASE/log/munged.log" ||
    die "munged does not start: $(tail -n 2 "$BASE/log/munged.log")"
}

start_controller() { # [-c]: without it the saved state is read
  slurmctld "$@" -f "$SLURM_CONF" 2>>"$BASE/log/slurmctld.log" || die "slurmctld does not start; see '$BASE/log/slurmctld.log'"
  await 100 "slurmctld does not answer" controller_answers
}

controller_answers() { scontrol ping | grep -q ' is UP'; }

start_slurmd() { # NODE. From BASE/log, because gres.conf names its devices from there.
  (cd "$BASE/log" && slurmd -c -N "$1" -f "$SLURM_CONF") 2>>"$BASE/log/slurmd-$1.log" || die "slurmd of $1 does not start; see '$BASE/log/slurmd-$1.log'"
}

node_state() { sinfo -h -N -p main -n "$1" -o %T; }

nodes_are_idle() { [ "$(sinfo -h -N -p main -t idle -o %n | wc -l)" = "$nodes" ]; }

node_is_back() { # NODE
  case $(node_state "$1") in idle | mixed | allocated | completing | draining | drained) true ;; *) false ;; esac
}

start_node() {
  ! daemon_pid "slurmd-$node" >/dev/null || { say "$node is already up" && return 0; }
  start_slurmd "$node"
  await 300 "$node did not come back" node_is_back "$node"
  say "started $node (pid $(daemon_pid "slurmd-$node"))"
}

restart_controller() {
  local name
  end_daemon slurmctld
  start_controller
  for name in $(list_nodes); do # unknown until they have registered again
    ! daemon_pid "slurmd-$name" >/dev/null || await 300 "$name did not register again" node_is_back "$name"
  done
  say "started slurmctld (pid $(daemon_pid slurmctld))"
}

start_accounting() {
  local data="$BASE/mysql" socket="$BASE/run/mysql" me
  me=$(id -un)
  mkdir -m 700 "$data"
  # A relative folder: the installer does not quote its path, which may hold a space.
  (cd "$BASE" && mariadb-install-db --no-defaults --user="$me" --datadir=./mysql --auth-root-authentication-method=socket \
    --auth-root-socket-user="$me" --skip-test-db) >"$BASE/log/mariadb-install.log" 2>&1 || die "see '$BASE/log/mariadb-install.log'"
  # setsid: a Ctrl-C at the terminal is not meant for the database
  setsid mariadbd --no-defaults --user="$me" --datadir="$data" --socket="$socket" --skip-networking \
    --pid-file="$BASE/run/mariadbd.pid" --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 \
    --innodb-lock-wait-timeout=900 --log-error="$BASE/log/mariadbd.log" </dev/null >/dev/null 2>&1 &
  await 300 "MariaDB does not answer; see '$BASE/log/mariadbd.log'" mariadb-admin --no-defaults -S "$socket" ping
  # Slurm has no setting for the database's socket; its client library has this one.
  (cd "$BASE/log" && MYSQL_UNIX_PORT="$socket" slurmdbd) 2>>"$BASE/log/slurmdbd.log" || die "slurmdbd does not start; see '$BASE/log/slurmdbd.log'"
  await 300 "slurmdbd does not answer; see '$BASE/log/slurmdbd.log'" timeout 5 sacctmgr -n list cluster
  sacctmgr -iQ add cluster devcluster >/dev/null
  ((max_submit == 0)) || limit_submissions "$me"
}

# Where limits hold, Slurm refuses users that accounting does not know: sacctmgr -i add user NAME account=dev
limit_submissions() {
  sacctmgr -iQ add account dev MaxSubmitJobs="$max_submit" >/dev/null
  sacctmgr -iQ add user "$1" account=dev >/dev/null
}
