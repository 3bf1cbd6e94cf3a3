#!/usr/bin/env bash
# ToRL on Qwen2.5-Math-7B: one node of 8 x 80 GB GPUs; FSDP2, vLLM on one GPU each.
# The numbers of the paper (arXiv 2503.23383) are the recipe's; here is what depends on the machine and the files.
#
#   MODEL=Qwen/Qwen2.5-Math-7B TRAIN=train.parquet VAL=aime24.parquet SANDBOX=ray \
#     bash torl_qwen2.5_math_7b.sh [further overrides]
#
# C, the tool calls of a response, is tir.rollout.max_tool_calls=1. SANDBOX as in simpletir_qwen2.5_7b.sh.
set -euo pipefail

: "${MODEL:?the model: a folder or a name on the Hugging Face hub}"
: "${TRAIN:?the training problems: a parquet file in the format of verl}"
: "${VAL:?the validation problems: a parquet file in the format of verl}"
: "${SANDBOX:?endpoints, separated by commas: http://host-0:8080,http://host-1:8080; or ray}"
endpoints="[$SANDBOX]"
if [[ $SANDBOX == ray ]]; then endpoints=ray; fi

overrides=(
  +tir=torl
  "tir.sandbox.endpoints=$endpoints"
  "tir.sandbox.token_file=${SANDBOX_TOKEN_FILE:-null}"
  "data.train_files=$TRAIN"
  "data.val_files=$VAL"
  "actor_rollout_ref.model.path=$MODEL"
  actor_rollout_ref.actor.strategy=fsdp2
  actor_rollout_ref.actor.use_dynamic_bsz=true
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384
  actor_rollout_ref.rollout.tensor_model_parallel_size=1
  actor_rollout_ref.rollout.gpu_memory_utilization=0.7
  trainer.n_gpus_per_node=8
  trainer.nnodes=1
  trainer.save_freq=20
  trainer.test_freq=20
  "$@"
)

# Seconds now, instead of a cluster that trains without the tool: versions, plugin, settings, every endpoint.
verl-tir doctor "${overrides[@]}"

python -m verl.trainer.main_ppo "${overrides[@]}"
