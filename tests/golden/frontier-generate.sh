#!/bin/bash
# generate on frontier: 2 nodes x 56 ranks, at most 120 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw generate /scratch/me/runs/paper/jobs/20260102-030405-generate/job.yaml
#SBATCH --job-name=paper-generate
#SBATCH --partition=batch
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=56
#SBATCH --cpus-per-task=1
#SBATCH --time=2:00:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me
#SBATCH --output=/scratch/me/runs/paper/jobs/20260102-030405-generate/%j_0_log.out
#SBATCH --error=/scratch/me/runs/paper/jobs/20260102-030405-generate/%j_0_log.err
#SBATCH --core-spec=8

module load PrgEnv-gnu
module load rocm

export OMP_NUM_THREADS=1
export NCCL_SOCKET_IFNAME=hsn0
export MIOPEN_DISABLE_CACHE=1
export HPC_GW_SCRATCH="/mnt/bb/$USER"
export SUBMITIT_EXECUTOR=slurm
export SUBMITIT_LOG_LEVEL=WARNING

srun --nodes=2 --ntasks=112 --ntasks-per-node=56 --cpus-per-task=1 --unbuffered --mpi=pmi2 \
  /opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-generate
