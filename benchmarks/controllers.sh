#!/bin/sh
# The runs behind the section "Controllers" of benchmarks/README.md, and its tables.
#     NAS_GYM_DATA=/where/the/tables/are sh benchmarks/controllers.sh runs/controllers
set -e
out=${1:-runs/controllers}
compare() {
    nas-gym compare --out "$out" --env nas_gym/NASBenchMacro-v0,nas_gym/NASBench201-v0 --budget 200 "$@"
}
compare --seeds 300 --agents reinforce,random,evolution,local_search
compare --seeds 100 --agents surrogate,surrogate:recipe=counts,reinforce:recipe=model_free
compare --seeds 100 --agents reinforce:recipe=zoph2016,reinforce:recipe=enas2018
compare --seeds 100 --agents reinforce_categorical,reinforce_categorical:recipe=nasbench201
compare --seeds 20 --agents ppo,recurrent_ppo,a2c,dqn
nas-gym compare --out "$out-mean" --env nas_gym/NASBenchMacro-v0:training=mean --budget 200 --seeds 100 \
    --agents reinforce,random,evolution,local_search
python -m benchmarks.controllers "$out" benchmarks/results
python -m benchmarks.controllers "$out-mean" benchmarks/results
cp "$out"/summary.csv "$out"/summary.md "$out"/pairs.csv "$out"/*.png benchmarks/results/
