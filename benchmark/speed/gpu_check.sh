#!/usr/bin/env bash
# What a machine with a GPU is asked first, without a network: 10 minutes at most, results written as they come.
# `PAPER_SECONDS=568` lets all of the paper's runs end.
#
#   benchmark/speed/gpu_check.sh OUT [cuda|cpu] [PART ...]
#
# Parts, in this order: `tests` (those marked cuda), `rehearsal`, `paper` (the 28 runs on synthetic sets of the shapes of
# VOC-MLT and COCO-MLT, through `mltbench run` and MLflow; those that fit into the time), `digits` (Tables 1 and 2 on
# Digits-MLT). With `cpu` all of it is tried in miniature. It needs a Python with torch and torchvision; what else is
# missing there comes as wheels in the folder .whl of the checkout, which this fetches where there is a network:
#
#   benchmark/speed/gpu_check.sh wheels
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python3}

# What an image with torch, pandas and scikit-learn lacks of requirements.lock: 38 MB for Python 3.12 on x86-64.
lacking="alembic annotated-types blinker cachetools cffi colorlog cryptography cyclopts databricks-sdk defusedxml docker
docstring-parser fastapi flask flask-cors gitdb gitpython google-auth googleapis-common-protos graphene graphql-core
graphql-relay greenlet gunicorn huey importlib-metadata itsdangerous jsonschema jsonschema-specifications mako mlflow
mlflow-skinny mlflow-tracing opentelemetry-api opentelemetry-proto opentelemetry-sdk opentelemetry-semantic-conventions
optuna prettytable pyasn1 pyasn1-modules pycocotools pycparser pydantic pydantic-core python-dotenv referencing rich-rst
rpds-py safetensors skops smmap sqlalchemy sqlparse starlette typing-inspection uvicorn wcwidth"

if [ "${1:-}" = wheels ]; then
    wanted=$(for name in $lacking; do grep -oE "^$name==[^ ]+" "$root/requirements.lock"; done)
    systems=$(printf -- '--platform manylinux%s_x86_64 ' _2_28 _2_27 _2_17 2014 1)
    # shellcheck disable=SC2086  # several words
    exec "$python" -m pip download --quiet --no-deps --only-binary=:all: --implementation cp \
        --python-version "${FOR_PYTHON:-3.12}" $systems --dest "$root/.whl" $wanted
fi

out=$(mkdir -p "${1:?OUT, the folder of the results}" && cd "$1" && pwd)
device=${2:-cuda}
parts=${*:3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/site" && ln -s "$root" "$work/site/mltbench"
if ls "$root"/.whl/*.whl >/dev/null 2>&1; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" "$root"/.whl/*.whl
fi
export PYTHONPATH=$work/site MLTBENCH_HOME=$work/results MLTBENCH_DATA=$work/data PYTHONUNBUFFERED=1
cd "$work" || exit

part() { # NAME SECONDS COMMAND...: run it for so long at most; Ctrl-C at the end lets a plan close what it has begun
    local name=$1 seconds=$2 began=$SECONDS
    shift 2
    case " ${parts:-$name} " in *" $name "*) ;; *) return ;; esac
    # No pipe: a process that outlived its part would hold it open.
    timeout --signal INT --kill-after 20 "$seconds" "$@" >>"$out/$name.txt" 2>&1
    local status=$?
    tail -n 40 "$out/$name.txt"
    echo "$name: exit status $status after $((SECONDS - began)) s of $seconds" | tee -a "$out/summary.txt"
}

side=280 small=() workers=(-n 4)
if [ "$device" = cpu ]; then
    side=40 workers=() small=(--backbone resnet18 --override recipe.image_size=32 --override recipe.plain.epochs=1
        --override recipe.resampled.epochs=1 --override recipe.batch_size=8)
fi
cat >shapes.py <<END
from dataclasses import replace

from mltbench.benchmark.speed.rehearsal import COCO, VOC, small_setting
from mltbench.benchmark.speed.synthetic import synthetic_dataset
from mltbench.datasets.registry import DatasetEntry, register_dataset

for shape in (VOC, COCO) if $side == 280 else small_setting("cpu").shapes:
    register_dataset(DatasetEntry(
        name=f"{shape.name}-shaped", summary="", source="", recipe="paper", backbone="resnet50",
        open=lambda root, shape=shape: synthetic_dataset(shape, image_size=$side * 4 // 5),
    ))
END
mltbench=("$python" -m mltbench)
"$python" -c 'import torch; print(torch.__version__, torch.cuda.is_available() and torch.cuda.get_device_name())' |
    tee "$out/summary.txt"

part tests 100 "$python" -m pytest "$root/tests/benchmark/training/test_cuda.py" -q -m cuda \
    "${workers[@]}" -p no:cacheprovider -p no:benchmark --show-capture=no
if [ "$device" = cpu ]; then
    part rehearsal 120 "${mltbench[@]}" bench rehearsal --miniature --device cpu --minutes 1.8
else
    part rehearsal 170 "${mltbench[@]}" bench rehearsal --device cuda --minutes 2.7 --json "$out/rehearsal.json"
fi
part paper "${PAPER_SECONDS:-230}" "${mltbench[@]}" run --plugin shapes.py --dataset voc-shaped --dataset coco-shaped \
    --table 1 --table 2 --weights random --device "$device" "${small[@]}"
part paper 20 "${mltbench[@]}" status --json
part digits 50 "${mltbench[@]}" run --table 1 --table 2 --device "$device" ${small:+--recipe digits-smoke}
part digits 20 "${mltbench[@]}" report --dataset digits-mlt --no-figures ${small:+--recipe digits-smoke}
tail -n +1 "$work"/results/runs/*/journal.jsonl >"$out/journals.txt" 2>/dev/null
cat "$out/summary.txt"
