#!/bin/bash
# One node, one task a GPU: sbatch [--ntasks-per-node N --gpus-per-node N ...] training/slurm/one_node.sh KEY=VALUE ...
# from the repository. RELAPET_ENVIRONMENT=FILE names a shell file that makes `python` the one with the training extra.
#SBATCH --job-name=relapet
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=08:00:00
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@180

source "${RELAPET_SLURM:-training/slurm}/requeue.sh" || { echo "submit it from the repository" >&2; exit 2; }
run_and_requeue "$@"
