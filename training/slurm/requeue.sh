# Sourced by the job scripts: run the training on all tasks and put the job back into the queue when it was asked to stop.
# Lightning Fabric reads ranks, nodes and addresses from Slurm's environment. --signal=TERM@180 of the scripts reaches
# the tasks of srun, which save and end with 75. --kill-on-bad-exit ends the others when one fails; srun's own exit code
# is then that of a killed one, so 75 is no bad exit here, and task 0, on the node of this script, leaves word of it.

# RELAPET_ENVIRONMENT, a file, is sourced before: modules, a virtual environment, variables of the network. Its variables
# reach the tasks whatever `sbatch --export` said, and the cores too, which srun does not take over since Slurm 22.05.
# It does not see the job's arguments, which are not for `activate` in it; nor is it sourced in a function, where
# `declare -x` of an `export -p > FILE` would be local. Where its last command fails, the job ends.
if [ -n "${RELAPET_ENVIRONMENT:-}" ]; then
    if [ ! -r "$RELAPET_ENVIRONMENT" ]; then
        echo "RELAPET_ENVIRONMENT=$RELAPET_ENVIRONMENT: no such file on this node" >&2
        exit 2
    fi
    relapet_arguments=("$@")
    set --
    source "$RELAPET_ENVIRONMENT" || {
        echo "RELAPET_ENVIRONMENT=$RELAPET_ENVIRONMENT: its last command failed;" \
            "end it with \`true\` if that is no fault" >&2
        exit 2
    }
    set -- "${relapet_arguments[@]}"
fi

run_and_requeue() {
    local code=0 told
    told="$(mktemp -u)"
    RELAPET_TOLD="$told" srun --kill-on-bad-exit=1 --export=ALL --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" bash -c '
        trap : TERM USR1  # meant for the training, which decides when to end
        code=0
        python -m training train "$@" || code=$?
        [ "$code" -eq 75 ] || exit "$code"
        [ "$SLURM_PROCID" -ne 0 ] || touch "$RELAPET_TOLD"
    ' task "hardware.devices=${SLURM_NTASKS_PER_NODE}" "hardware.nodes=${SLURM_JOB_NUM_NODES}" "$@" || code=$?
    if [ "$code" -eq 0 ] && [ -e "$told" ]; then
        rm -f "$told"
        echo "asked to stop: back into the queue"
        # One task of an array has the array's own number, which would mean all of it.
        if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then
            scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" || exit 75
        else
            scontrol requeue "$SLURM_JOB_ID" || exit 75
        fi
    fi
    exit "$code"
}
