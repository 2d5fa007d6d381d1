#!/bin/bash
# A data set by an array of N jobs, each with every N-th person, one thread each:
#   sbatch --array=1-N cluster/slurm_array.sh BIDS_DIR OUT [OPTION ...]
# with any options of `relapet bids`. Jobs that failed or were killed are submitted again as they are, all or some:
#   sbatch --array=3,7 --export=ALL,RELAPET_SHARES=N cluster/slurm_array.sh BIDS_DIR OUT [OPTION ...]
# What is done is not done again. A job's log, slurm-JOB_NUMBER.out, gets a line for each person as it ends. The tables come
# last, with the same options:
#   sbatch --dependency=afterany:JOB --wrap "relapet bids BIDS_DIR OUT group [OPTION ...]"
# RELAPET_ENVIRONMENT=FILE names a shell file that makes `relapet` the installed one, e.g. by `module load`; where its
# last command fails, the job ends. With RELAPET_COMMAND another command runs, e.g. "apptainer run -B BIDS_DIR -B OUT
# relapet.sif", which needs both folders.
#SBATCH --job-name=relapet-bids
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=8G
#SBATCH --time=04:00:00
#SBATCH --open-mode=append
#SBATCH --requeue

if [ $# -lt 2 ]; then
    echo "slurm_array: sbatch --array=1-N slurm_array.sh BIDS_DIR OUT [OPTION ...]" >&2
    exit 2
fi
# Without the job's arguments, which a file that is sourced would see: they are not for `activate` in it. Not in a
# function, where `declare -x` of an `export -p > FILE` would be local.
if [ -n "${RELAPET_ENVIRONMENT:-}" ]; then
    if [ ! -r "$RELAPET_ENVIRONMENT" ]; then
        echo "slurm_array: RELAPET_ENVIRONMENT=$RELAPET_ENVIRONMENT: no such file on this node" >&2
        exit 2
    fi
    relapet_arguments=("$@")
    set --
    # shellcheck source=/dev/null
    source "$RELAPET_ENVIRONMENT" || {
        echo "slurm_array: RELAPET_ENVIRONMENT=$RELAPET_ENVIRONMENT: its last command failed;" \
            "end it with \`true\` if that is no fault" >&2
        exit 2
    }
    set -- "${relapet_arguments[@]}"
fi
shares=${RELAPET_SHARES:-${SLURM_ARRAY_TASK_MAX:-1}}
if [ -z "${RELAPET_SHARES:-}" ] && [ "${SLURM_ARRAY_TASK_MIN:-1}/${SLURM_ARRAY_TASK_COUNT:-$shares}" != "1/$shares" ]; then
    echo "slurm_array: only --array=1-N has everybody done; of another array, or some of its jobs again, say what N is" \
        "by --export=ALL,RELAPET_SHARES=N" >&2
    exit 2
fi
export OMP_NUM_THREADS=1
source_folder=$1 out=$2
shift 2
read -r -a command <<<"${RELAPET_COMMAND:-relapet bids}"
# Each job would validate the whole data set; do it once before, by any run without this option.
exec "${command[@]}" "$source_folder" "$out" participant --skip-bids-validation \
    --share "${SLURM_ARRAY_TASK_ID:-1}/$shares" "$@"
