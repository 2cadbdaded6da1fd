# In: a cluster. Out: what of it runs, for people; the exit code for scripts.
# shellcheck shell=bash

status() {
  local label pid up=0 down=0
  [ -s "$SLURM_CONF" ] || STATUS=3 die "no cluster under '$BASE'"
  for label in $(list_daemons); do
    case $label in slurmdbd | mariadbd) [ -e "$BASE/etc/slurmdbd.conf" ] || continue ;; esac
    if pid=$(daemon_pid "$label"); then up=$((up + 1)); else pid=- down=$((down + 1)); fi
    printf '%-16s %s\n' "$label" "$pid"
  done
  ((up)) || exit 3
  ! controller_answers || sinfo -N -p main -o '%10N %10T %5c %8m %14G %E'
  ! controller_answers || echo "jobs: $(squeue -h -r -t R | wc -l) running, $(squeue -h -r -t PD | wc -l) pending"
  ((down == 0))
}
