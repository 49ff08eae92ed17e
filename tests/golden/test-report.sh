#!/bin/bash
# report on test: 1 node x 1 rank, at most 30 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw report /scratch/me/runs/paper/jobs/20260102-030405-report/job.yaml
#SBATCH --job-name=paper-report
#SBATCH --partition=main
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=0:30:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me
#SBATCH --output=/scratch/me/runs/paper/jobs/20260102-030405-report/%j_0_log.out
#SBATCH --error=/scratch/me/runs/paper/jobs/20260102-030405-report/%j_0_log.err
#SBATCH --dependency=afterok:4711
#SBATCH --kill-on-invalid-dep=yes

export OMP_NUM_THREADS=2
export UCX_NET_DEVICES=lo
export SUBMITIT_EXECUTOR=slurm
export SUBMITIT_LOG_LEVEL=WARNING

srun --nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=2 --unbuffered --mpi=pmi2 \
  /opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-report
