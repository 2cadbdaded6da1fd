# In: the options of `up`. Out: slurm.conf, gres.conf, cgroup.conf, slurmdbd.conf and the munge key under BASE.
# shellcheck shell=bash disable=SC2154 # variables are set in ../devcluster

write_config() {
  (umask 077 && head -c 1024 /dev/urandom >"$BASE/munge/key")
  { controller_config && accounting_config && node_config && partition_config; } >"$SLURM_CONF"
  gpu_config >"$BASE/etc/gres.conf"
  cgroup_config >"$BASE/etc/cgroup.conf"
  [ "$accounting" = no ] || (umask 077 && slurmdbd_config >"$BASE/etc/slurmdbd.conf")
}

controller_config() {
  cat <<C
ClusterName=devcluster
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# cred_expire is also how long a requeued job waits. Below 5, Slurm only logs "invalid" and takes its default: 120 s.
AuthInfo="socket=$BASE/run/munge/socket,cred_expire=5"
SlurmctldPidFile="$BASE/run/slurmctld.pid"
SlurmdPidFile="$BASE/run/slurmd-%n.pid"
StateSaveLocation="$BASE/state"
SlurmdSpoolDir="$BASE/spool/%n"
SlurmctldLogFile="$BASE/log/slurmctld.log"
SlurmdLogFile="$BASE/log/slurmd-%n.log"
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true
# No cgroups: they would need root and belong to the host.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# The nodes are what we say they are, not what the host has.
SlurmdParameters=config_overrides
ReturnToService=2
LaunchParameters=use_interactive_step
# Scheduling: at once, rather than batched for throughput (defer_batch would make srun slow).
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2,bf_resolution=1,bf_window=60,requeue_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
DependencyParameters=kill_invalid_depend
JobRequeue=1
MaxArraySize=$max_array_size
MaxJobCount=20000
# Timers: short, so that what a real cluster takes minutes for can be tested.
KillWait=2
KillOnBadExit=1
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=10
BatchStartTimeout=10
TCPTimeout=2
MinJobAge=600
C
}

accounting_config() {
  if [ "$accounting" = no ]; then
    printf 'JobCompType=jobcomp/filetxt\nJobCompLoc="%s"\n' "$BASE/log/finished-jobs.txt"
  else
    cat <<C
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 1))
# The munge socket once more: the accounting plugin does not read AuthInfo.
AccountingStoragePass="$BASE/run/munge/socket"
AccountingStorageTRES=gres/gpu
C
    ((max_submit == 0)) || echo "AccountingStorageEnforce=limits"
  fi
  case $accounting$enforce_memory in
    nono) echo "JobAcctGatherType=jobacct_gather/none" ;;
    *) printf 'JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=task=1\n' ;;
  esac
  # Without cgroups this polling is all that holds a job to its --mem; shared pages count once for each process.
  [ "$enforce_memory" = no ] || echo "JobAcctGatherParams=OverMemoryKill"
}

node_config() {
  local i gres=''
  ((gpus == 0)) || gres="Gres=gpu:${gpu_type:+$gpu_type:}$gpus"
  echo "GresTypes=gpu"
  for ((i = 0; i < nodes; i++)); do
    echo "NodeName=node$i NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=$((port + 10 + i)) CPUs=$cpus RealMemory=$mem_mb Features=devcluster $gres State=UNKNOWN"
  done
}

partition_config() {
  local all="Nodes=node[0-$((nodes - 1))] MaxTime=1-00:00:00 DefaultTime=01:00:00 State=UP"
  echo "PartitionName=main $all Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=$grace_s"
  echo "PartitionName=urgent $all PriorityTier=10 PreemptMode=OFF"
}

# File= must be a character device and holds no space; slurmd's working folder is, from its start on, BASE/log.
gpu_config() {
  local i g
  ((gpus > 0)) || return 0
  for ((g = 0; g < gpus; g++)); do ln -s /dev/null "$BASE/dev/gpu$g"; done
  for ((i = 0; i < nodes; i++)); do
    echo "NodeName=node$i Name=gpu ${gpu_type:+Type=$gpu_type }File=../dev/gpu[0-$((gpus - 1))]"
  done
}

cgroup_config() { # "disabled" came with 24.05; before that, v1 is loaded and, with the plugins above, left unused
  local version
  version=$(slurmd -V | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
  if [ "$(printf '%s\n24.05\n' "$version" | sort -V | head -n 1)" = 24.05 ]; then
    echo "CgroupPlugin=disabled"
  else
    echo "CgroupPlugin=cgroup/v1"
  fi
}

slurmdbd_config() {
  cat <<C
AuthType=auth/munge
AuthInfo="socket=$BASE/run/munge/socket"
DbdHost=$(hostname)
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
SlurmUser=$(id -un)
PidFile="$BASE/run/slurmdbd.pid"
LogFile="$BASE/log/slurmdbd.log"
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$(id -un)
StorageLoc=devcluster
C
}
