#!/usr/bin/env bash
# The recipe `photos` on a CUDA device, for some minutes: from the root of a checkout, offline, nothing installed.
#
#   carry there:  the checkout; photos-free as data/photos-free (46 MB); to go on, runs/photos/checkpoint.pt (14 MB)
#   run there:    OUT=out deploy/train-photos-cuda.sh
#   carry back:   $OUT/runs/photos/checkpoint.pt, to go on from; $OUT/runs/photos/cooled.pt, to export; both < 16 MiB
#   then here:    autoencoder-train photos --from cooled.pt --minutes 0 --runs somewhere-empty
#
# Rehearsal at a hundredth, without a GPU: OUT=/tmp/out DEVICE=cpu MINUTES=0.08 BATCH=8 deploy/train-photos-cuda.sh
set -euo pipefail
OUT=${OUT:?the folder whose files come back}
MINUTES=${MINUTES:-8} DEVICE=${DEVICE:-cuda} BATCH=${BATCH:-64} RATE=${RATE:-4e-3} PYTHON=${PYTHON:-python3}
mkdir -p "$OUT/runs/photos"
"$PYTHON" - <<'PY'
import importlib.util
names = "torch numpy cv2 pydantic onnx onnxscript onnxruntime matplotlib sklearn PIL tqdm".split()
missing = [name for name in names if importlib.util.find_spec(name) is None]
import torch
print("torch", torch.__version__, "CUDA", torch.cuda.is_available(), "| missing:", *(missing or ["nothing"]))
raise SystemExit(bool(missing))
PY
start=models/photos
[ -f runs/photos/checkpoint.pt ] && start=runs/photos/checkpoint.pt
"$PYTHON" -m training photos --from "$start" --minutes "$MINUTES" --device "$DEVICE" --runs "$OUT/runs" --no-package \
  --set data.test=none --set "optimization.batch_size=$BATCH" --set "optimization.learning_rate=$RATE" 2>&1 | tee "$OUT/log"
find "$OUT" -type f -size +16M -exec echo "too large to come back:" {} +
ls -l "$OUT/runs/photos"
