#!/usr/bin/env bash
# Trains the demo model from nothing: training/recipes/demo.sh OUT [PYTHON]. About 20 GB; the same command goes on
# where an interrupted one stopped.
set -euo pipefail
out=$1
python=${2:-.venv/bin/python}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# 2060 simulated people on the model grid, 60 of them for validation; the first 12 again as raw scans.
"$python" -m training prepare --rendered 2060 --rendered-seed 1 --law 2 --factor 2 --fractions 0.970874,0.029126,0 --out "$out/people"
[[ -e $out/raw ]] || "$python" -m RelAPETLib phantom --subjects 12 --seed 1 --law 2 --out "$out/raw"
"$python" -m training prepare --source "$out/raw" --factor 2 --fractions 1,0,0 --out "$out/registered"
"$python" -m training train @training/recipes/demo.txt \
    data.cache="$out/people" latent.registered="$out/registered" out="$out/run"
"$python" -m training export --checkpoint "$out/run/checkpoints/step-00002000.pt" --out "$out/uncalibrated" --overwrite --half \
    --name demo --version 3.3.0 --licence Apache-2.0 --samples 4 --positivity training/recipes/demo_positivity.json --baseline training/recipes/demo_baseline.json --title "Demo model (simulated data)" \
    --description "A latent diffusion model in the shape of RelA-Diffusion-Latent, trained on simulated people so that the \
whole software can be tried, tested and understood. It is not a model of real PET."

# Intervals and outlier gate, from 270 other people.
"$python" -m training prepare --rendered 270 --rendered-seed 11 --law 2 --factor 2 --fractions 1,0,0 --out "$out/calibration"
"$python" -m training calibrate --model "$out/uncalibrated" --data "$out/calibration" --training "$out/people" \
    --draws "$out/draws" --out "$out/calibrated" --overwrite

# Mean and SD of the synthetic PET of 150 training people, 43 of them by two pairs of samples.
"$python" -m training departure --model "$out/calibrated" --training "$out/people" --people 150 --twice 43 \
    --work "$out/departure" --out "$out/departed" --overwrite

# How few sampling steps draw the same.
"$python" -m training steps --model "$out/departed" --data "$out/people" --tried 4 6 8 10 12 16 20 32 \
    --draws "$out/steps" --out "$out/bundle" --overwrite
