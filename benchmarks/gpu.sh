#!/usr/bin/env bash
# The whole protocol on a machine with a GPU, in under ten minutes; builds nothing. First whether the
# answers are right, then what a copy reaches, then every time: benchmarks/results/<gpu>.json.
#
#   benchmarks/gpu.sh                      PYTHON=python3.12 names another Python
#   benchmarks/gpu.sh --rehearse FILE      every line of it on the CPU, on tiny images, into FILE
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
gpuseg=("$python" -c "from gpuseg.cli import main; main()")

measure() {
    # A failed case is told, and does not stop the others.
    local failed=0
    "$python" -m pytest -q -p no:cacheprovider --benchmark-json="$file" --benchmark-columns=min,median \
        --benchmark-sort=name "$@" || failed=$?
    echo "gpu.sh: $SECONDS s in all; the times are in $file"
    exit "$failed"
}

if [ "${1:-}" = --rehearse ]; then
    file=${2:?gpu.sh: --rehearse needs a file to write}
    measure --rehearse --minutes 5 benchmarks/bench_gpu.py ${3:+-k "$3"}
fi

name=$("$python" benchmarks/roofline.py --name 2>&1) || {
    echo "gpu.sh: ${name##*$'\n'}" >&2
    exit 1
}
file=benchmarks/results/$name.json

echo "== are the answers right?"
timeout 240 "${gpuseg[@]}" verify || {
    echo "gpu.sh: gpuseg verify failed here, so nothing was measured" >&2
    exit 1
}
echo "== what a copy reaches"
"$python" benchmarks/roofline.py
echo "== times"
minutes=$(awk "BEGIN { print (570 - $SECONDS) / 60 }")
measure --minutes "$minutes" --levels medium \
    --members "gpuseg cuda,cuCIM,CuPy,scikit-image,scikit-learn" \
    benchmarks/bench_gpu.py benchmarks/bench_all.py
