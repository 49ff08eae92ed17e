#!/bin/bash
# scaling on frontier: 2 nodes x 8 ranks, 8 GPUs a node, at most 120 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw scaling /scratch/me/runs/paper/jobs/20260102-030405-scaling/job.yaml
#SBATCH --job-name=paper-scaling
#SBATCH --partition=batch
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=7
#SBATCH --time=2:00:00
#SBATCH --signal=B:USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me
#SBATCH --output=/scratch/me/runs/paper/jobs/20260102-030405-scaling/%j_0_log.out
#SBATCH --error=/scratch/me/runs/paper/jobs/20260102-030405-scaling/%j_0_log.err
#SBATCH --gpus-per-node=8
#SBATCH --core-spec=8

module load PrgEnv-gnu
module load rocm

export OMP_NUM_THREADS=7
export NCCL_SOCKET_IFNAME=hsn0
export MIOPEN_DISABLE_CACHE=1
export HPC_GW_SCRATCH="/mnt/bb/$USER"
export SUBMITIT_EXECUTOR=slurm
export SUBMITIT_LOG_LEVEL=WARNING

exec /opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-scaling
