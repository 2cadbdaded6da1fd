# In: a running cluster or the rests of one. Out: nothing of it runs, and a line for each thing that was ended.
# shellcheck shell=bash disable=SC2154 # variables are set in ../devcluster

down() {
  local name label daemons jobs all_jobs=() ended=no killed_daemons=0 killed_jobs=0
  [ -s "$SLURM_CONF" ] || { say "nothing is running under '$BASE'" && return 0; }
  for label in $(list_daemons); do ! daemon_pid "$label" >/dev/null || ended=yes; done
  end_daemon slurmctld # first, so that no job is started again elsewhere
  for name in $(list_nodes); do
    end_daemon "slurmd-$name"
    mapfile -t daemons < <(node_daemons "$name")
    mapfile -t jobs < <(job_processes "$name" "${daemons[@]}")
    all_jobs+=("${jobs[@]}")
  done
  end_processes "${all_jobs[@]}"
  for name in $(list_nodes); do end_node "$name"; done # step daemons wait long for a controller that is gone
  ((${#all_jobs[@]} + killed_daemons == 0)) || { ended=yes && say "ended ${#all_jobs[@]} processes of jobs"; }
  for label in slurmdbd mariadbd munged; do end_daemon "$label"; done
  [ "$ended" = yes ] || say "nothing is running under '$BASE'"
}

kill_node() { # as when the power fails
  local slurmd killed_daemons=0 killed_jobs=0
  slurmd=$(daemon_pid "slurmd-$node") || { say "$node is already dead" && return 0; }
  end_node "$node"
  rm -f "$(pid_file "slurmd-$node")"
  [ "$announce" = no ] || scontrol update nodename="$node" state=DOWN reason="killed by devcluster"
  say "killed $node: slurmd (pid $slurmd), $((killed_daemons - 1)) job steps, $killed_jobs processes in them"
}
