#!/bin/bash
# One node, one task a GPU: sbatch [--gpus-per-node N --ntasks-per-node N] training/slurm/one_node.sh KEY=VALUE ...
# from the repository, with the environment of the training extra active.
#SBATCH --job-name=relapet
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=3
#SBATCH --gpus-per-node=3
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@180

source "${RELAPET_SLURM:-training/slurm}/requeue.sh"
run_and_requeue "$@"
