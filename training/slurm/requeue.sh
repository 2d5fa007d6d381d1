# Sourced by the job scripts: run the training on all tasks and put the job back into the queue after exit code 75.
# Lightning Fabric reads ranks, nodes and addresses from Slurm's environment. --signal=TERM@180 of the scripts reaches
# the tasks of srun, which save and end with 75; --kill-on-bad-exit ends the others when one fails.

run_and_requeue() {
    local code=0
    srun --kill-on-bad-exit=1 python -m training train \
        "hardware.devices=${SLURM_NTASKS_PER_NODE}" "hardware.nodes=${SLURM_JOB_NUM_NODES}" "$@" || code=$?
    if [ "$code" -eq 75 ] || [ "$code" -eq 143 ]; then  # 143: told before it had begun
        echo "asked to stop: back into the queue"
        scontrol requeue "$SLURM_JOB_ID" && exit 0
    fi
    exit "$code"
}
