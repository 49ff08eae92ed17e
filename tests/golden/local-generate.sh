#!/bin/bash
# generate on local: 1 node x 2 ranks, at most 1440 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw generate /scratch/me/runs/paper/jobs/20260102-030405-generate/job.yaml
cd /scratch/me || exit

export SUBMITIT_EXECUTOR=local
export SUBMITIT_LOG_LEVEL=WARNING
export SUBMITIT_LOCAL_NTASKS=1
export SUBMITIT_LOCAL_JOB_NUM_NODES=1
export SUBMITIT_LOCAL_NODEID=0
export SUBMITIT_LOCAL_COMMAND='/opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-generate'
export SUBMITIT_LOCAL_TIMEOUT_S=86400
export SUBMITIT_LOCAL_SIGNAL_DELAY_S=120
export SUBMITIT_STDERR_TO_STDOUT=''
export SUBMITIT_LOCAL_WITH_SHELL=''

exec /opt/hpc_gw/bin/python -m submitit.local._local /scratch/me/runs/paper/jobs/20260102-030405-generate
