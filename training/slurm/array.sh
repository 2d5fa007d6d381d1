#!/bin/bash
# Many runs, one a task of an array: sbatch --array=1-8 training/slurm/array.sh RUNS OUT KEY=VALUE ...
# Line N of the file RUNS is a run's name and its own words; it trains in OUT/NAME. Empty lines and those that begin with
# # do not count. training/slurm/seeds_and_ablations.txt is such a file. RELAPET_ENVIRONMENT as for one_node.sh.
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
if [ $# -lt 2 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "array: sbatch --array=1-N array.sh RUNS OUT KEY=VALUE ..., N the number of runs in the file RUNS" >&2
    exit 2
fi
runs=$1 out=$2
shift 2
read -r name words < <(
    tr -d '\r' <"$runs" | grep -v -e '^[[:space:]]*#' -e '^[[:space:]]*$' | sed -n "${SLURM_ARRAY_TASK_ID}p"
)
if [ -z "$name" ]; then
    echo "array: $runs has no run number ${SLURM_ARRAY_TASK_ID}; sbatch --array=1-N, N its number of runs" >&2
    exit 2
fi
read -r -a own <<<"$words"
run_and_requeue "$@" "${own[@]}" "out=$out/$name"
