#!/bin/bash
# evaluate on perlmutter: 2 nodes x 64 ranks, at most 240 min
# written by hpc-gw VERSION; each rank runs
#   hpc-gw evaluate /scratch/me/runs/paper/jobs/20260102-030405-evaluate/job.yaml
#SBATCH --job-name=paper-evaluate
#SBATCH --qos=regular
#SBATCH --constraint=gpu
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=64
#SBATCH --cpus-per-task=1
#SBATCH --time=4:00:00
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me
#SBATCH --output=/scratch/me/runs/paper/jobs/20260102-030405-evaluate/%j_0_log.out
#SBATCH --error=/scratch/me/runs/paper/jobs/20260102-030405-evaluate/%j_0_log.err
#SBATCH --dependency=afterok:4711
#SBATCH --kill-on-invalid-dep=yes

module load pytorch

export OMP_NUM_THREADS=1
export NCCL_SOCKET_IFNAME=hsn
export NCCL_NET_GDR_LEVEL=PHB
export HPC_GW_SCRATCH="/tmp"
export SUBMITIT_EXECUTOR=slurm
export SUBMITIT_LOG_LEVEL=WARNING

srun --nodes=2 --ntasks=128 --ntasks-per-node=64 --cpus-per-task=1 --unbuffered --mpi=pmi2 \
  /opt/hpc_gw/bin/python -u -m submitit.core._submit /scratch/me/runs/paper/jobs/20260102-030405-evaluate
