#!/bin/bash
# Several nodes, one task a GPU: sbatch [--nodes N ...] training/slurm/several_nodes.sh preset.global_batch=4 KEY=VALUE ...
# `out` must be a folder that all nodes see. RELAPET_ENVIRONMENT as for one_node.sh.
#SBATCH --job-name=relapet
#SBATCH --nodes=2
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
