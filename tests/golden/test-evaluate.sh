#!/bin/bash
# evaluate on test: 1 node x 2 ranks, at most 30 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw evaluate /scratch/me/runs/paper/jobs/20260102-030405-evaluate/job.yaml
#SBATCH --job-name=paper-evaluate
#SBATCH --partition=main
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --time=0:30:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me
#SBATCH --output=/scratch/me/runs/paper/jobs/20260102-030405-evaluate/%j_0_log.out
#SBATCH --error=/scratch/me/runs/paper/jobs/20260102-030405-evaluate/%j_0_log.err
#SBATCH --dependency=afterok:4711
#SBATCH --kill-on-invalid-dep=yes

export OMP_NUM_THREADS=1
export UCX_NET_DEVICES=lo
export SUBMITIT_EXECUTOR=slurm
export SUBMITIT_LOG_LEVEL=WARNING

srun --nodes=1 --ntasks=2 --ntasks-per-node=2 --cpus-per-task=1 --unbuffered --mpi=pmi2 \
  /opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-evaluate
