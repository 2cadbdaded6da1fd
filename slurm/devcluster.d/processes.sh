# In: pid files and /proc. Out: which processes belong to this cluster, and their end. Never by name alone.
# shellcheck shell=bash

# Every daemon keeps a file under BASE open (its log, its data). A pid file that outlived a reboot names a stranger.
is_ours() { # PID NAME
  [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] || return 1
  [[ "$(find "/proc/$1/fd" -lname "$BASE/*" -print -quit 2>/dev/null)" ]]
}

daemon_pid() { # LABEL -> its pid, if it runs. Labels: slurmctld, slurmd-NODE, slurmdbd, mariadbd, munged
  local pid
  pid=$(cat "$(pid_file "$1")" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] && is_ours "$pid" "${1%%-*}" && echo "$pid"
}

pid_file() {
  case $1 in munged) echo "$BASE/run/munge/pid" ;; *) echo "$BASE/run/$1.pid" ;; esac
}

list_daemons() { # in the order in which they are to end
  echo slurmctld
  list_nodes | sed 's/^/slurmd-/'
  printf '%s\n' slurmdbd mariadbd munged
}

is_running() { [ -e "/proc/$1" ] && [ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null)" != Z ]; }

wait_gone() { # DECISECONDS PID...: true once none of them runs
  local i pid alive
  for ((i = 0; i <= $1; i++)); do
    alive=no
    for pid in "${@:2}"; do is_running "$pid" && alive=yes && break; done
    [ "$alive" = no ] && return 0
    sleep 0.1
  done
  return 1
}

end_processes() { # PID...: TERM, a little time, KILL
  (($#)) || return 0
  kill "$@" 2>/dev/null || true
  wait_gone 30 "$@" || { kill -KILL "$@" 2>/dev/null || true; } && wait_gone 50 "$@"
}

end_daemon() { # LABEL
  local pid
  pid=$(daemon_pid "$1") || { rm -f "$(pid_file "$1")" && return 0; }
  kill "$pid" 2>/dev/null || true
  wait_gone 100 "$pid" || { kill -KILL "$pid" 2>/dev/null && wait_gone 50 "$pid"; } || die "$1 (pid $pid) does not end"
  rm -f "$(pid_file "$1")"
  say "ended $1 (pid $pid)"
}

# A step daemon has no pid file and a clobbered environment, but it writes to its node's log. Between fork and exec
# it still has slurmd's name: a job that starts while its node is being killed would otherwise survive.
node_daemons() { # NODE -> pids of slurmd and its step daemons
  local comm pid
  for comm in /proc/[0-9]*/comm; do
    pid=${comm#/proc/} && pid=${pid%/comm}
    case $(cat "$comm" 2>/dev/null) in slurmd | slurmstepd) ;; *) continue ;; esac
    [[ "$(find "/proc/$pid/fd" -lname "$BASE/log/slurmd-$1.log" -print -quit 2>/dev/null)" ]] && is_running "$pid" && echo "$pid"
  done
  return 0
}

descendants() { # PID... -> all their children's pids
  (($#)) || return 0
  ps -e -o pid=,ppid= | awk -v roots="$*" '
    { children[$2] = children[$2] " " $1 }
    function walk(p,   list, n, i) { n = split(children[p], list, " "); for (i = 1; i <= n; i++) { print list[i]; walk(list[i]) } }
    END { n = split(roots, root, " "); for (i = 1; i <= n; i++) walk(root[i]) }'
}

# What a job left to init is still known by the environment that Slurm gave it.
strays() { # NODE -> pids
  local file
  while IFS= read -r file; do
    grep -qzxF -- "SLURM_CONF=$SLURM_CONF" "$file" 2>/dev/null && file=${file#/proc/} && echo "${file%/environ}"
  done < <(grep -lzxF -s -- "SLURMD_NODENAME=$1" /proc/[0-9]*/environ)
  return 0
}

job_processes() { # NODE DAEMON... -> pids of everything that jobs run there; neither daemons nor this script
  local pid
  { descendants "${@:2}" && strays "$1"; } | sort -un | while read -r pid; do
    [[ " $* $$ " == *" $pid "* ]] || ! is_running "$pid" || echo "$pid"
  done
}

end_node() { # NODE: KILL all of it, what could still report to the controller first; adds to killed_daemons, killed_jobs
  local daemons jobs round
  for round in 1 2 3 4 5; do # again, for what was just being forked
    mapfile -t daemons < <(node_daemons "$1")
    mapfile -t jobs < <(job_processes "$1" "${daemons[@]}")
    ((${#daemons[@]} + ${#jobs[@]})) || return 0
    kill -KILL "${daemons[@]}" "${jobs[@]}" 2>/dev/null || true
    wait_gone 50 "${daemons[@]}" "${jobs[@]}" || break
    killed_daemons=$((killed_daemons + ${#daemons[@]})) killed_jobs=$((killed_jobs + ${#jobs[@]}))
  done
  die "$1: some of ${daemons[*]} ${jobs[*]} do not end (round $round)"
}
