#!/bin/bash
# Several nodes, one task a GPU: sbatch [--nodes N ...] training/slurm/several_nodes.sh preset.global_batch=8 KEY=VALUE ...
# `out` must be a folder that all nodes see.
#SBATCH --job-name=relapet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@180

source "${RELAPET_SLURM:-training/slurm}/requeue.sh"
run_and_requeue "$@"
