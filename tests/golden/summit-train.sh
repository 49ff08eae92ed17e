#!/bin/bash
# train on summit: 2 nodes x 6 ranks, 6 GPUs a node, at most 120 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw train /scratch/me/runs/paper/jobs/20260102-030405-train/job.yaml
#BSUB -J "paper-train"
#BSUB -q batch
#BSUB -nnodes 2
#BSUB -W 2:00
#BSUB -wa USR2 -wt 2
#BSUB -r
#BSUB -cwd /scratch/me
#BSUB -o /scratch/me/runs/paper/jobs/20260102-030405-train/%J_lsf.out
#BSUB -w "done(4711)"
#BSUB -ti
#BSUB -alloc_flags smt1

module load open-ce

export OMP_NUM_THREADS=7
export NCCL_SOCKET_IFNAME=ib0
export HPC_GW_SCRATCH="/mnt/bb/$USER"
export SUBMITIT_LOG_LEVEL=WARNING

# LSF's warning reaches this shell, too; the ranks are those who act on it.
trap : USR2
export SUBMITIT_EXECUTOR=lsf
jsrun --nrs=12 --rs_per_host=6 --tasks_per_rs=1 --cpu_per_rs=7 --gpu_per_rs=1 --bind=packed:7 --smpiargs=-gpu \
  /opt/hpc_gw/bin/python -u -m hpc_gw.launch.lsf.rank /scratch/me/runs/paper/jobs/20260102-030405-train
status=$?

# A rank on a node without LSF's commands leaves the requeue to this shell.
job=$LSB_JOBID
name=$LSB_JOBID
if [ "${LSB_JOBINDEX:-0}" -gt 0 ]; then
    job="${LSB_JOBID}[$LSB_JOBINDEX]"
    name=${LSB_JOBID}_$((LSB_JOBINDEX - 1))
fi
if [ -e /scratch/me/runs/paper/jobs/20260102-030405-train/"$name"_requeue ]; then
    rm -f /scratch/me/runs/paper/jobs/20260102-030405-train/"$name"_requeue
    brequeue "$job" && sleep 600  # until LSF ends this run
fi
exit $status
