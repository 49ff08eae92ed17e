# What up and down share; they source it with the cluster's folder as their first argument.
FOLDER=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/hpc_gw/slurm}
[[ $FOLDER == /* ]] || FOLDER=$PWD/$FOLDER
export SLURM_CONF=$FOLDER/slurm.conf
PATH=$PATH:/usr/sbin # where Debian keeps the daemons

say() { echo "slurm/test_cluster/$(basename "$0"): $*" >&2; }

# Whether the folder is that of a cluster of ours, running or not.
is_ours() { grep -qs '^ClusterName=hpcgw$' "$SLURM_CONF"; }

# The process id of one of the cluster's daemons, if it runs: a pid file outlives its process, and
# the id may be another's by then.
pid_of() {
  local pid
  pid=$(cat "$FOLDER/$1.pid" 2> /dev/null) || return 1
  [ "$(awk '/^Name:/ { name = $2 } /^State:/ { state = $2 } END { print name, state != "Z" }' \
    "/proc/$pid/status" 2> /dev/null)" = "$1 1" ] && echo "$pid"
}

# Try a command ten times a second for so many seconds.
within() {
  local tries=$(($1 * 10))
  shift
  until "$@"; do
    [ "$((tries--))" -gt 0 ] || return 1
    sleep 0.1
  done
}
