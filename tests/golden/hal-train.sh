#!/bin/bash
# train on hal: 2 nodes x 4 ranks, 4 GPUs a node, at most 240 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw train /scratch/me/runs/paper/jobs/20260102-030405-train/job.yaml
#SBATCH --job-name=paper-train
#SBATCH --partition=gpu
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=9
#SBATCH --time=4:00:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me
#SBATCH --output=/scratch/me/runs/paper/jobs/20260102-030405-train/%j_0_log.out
#SBATCH --error=/scratch/me/runs/paper/jobs/20260102-030405-train/%j_0_log.err
#SBATCH --gres=gpu:v100:4
#SBATCH --dependency=afterok:4711
#SBATCH --kill-on-invalid-dep=yes

module load opence

export OMP_NUM_THREADS=9
export NCCL_SOCKET_IFNAME=ib0
export SUBMITIT_EXECUTOR=slurm
export SUBMITIT_LOG_LEVEL=WARNING

srun --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=9 --unbuffered --mpi=pmi2 \
  /opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-train
