#!/usr/bin/env bash
# SimpleTIR on Qwen2.5-7B: one node of 8 x 80 GB GPUs; FSDP2, vLLM with tensor parallelism 2.
# The numbers of the paper (arXiv 2509.02479) are the recipe's; here is what depends on the machine and the files.
#
#   MODEL=Qwen/Qwen2.5-7B TRAIN=train.parquet VAL=aime25.parquet SANDBOX=http://sandbox-0:8080 \
#     bash simpletir_qwen2.5_7b.sh [further overrides]
#
# RECIPE=simpletir_long is the second stage; simpletir_curriculum_qwen2.5_7b.sh runs both.
# SANDBOX=ray runs the programs on this cluster's own CPU cores. A service that wants a token: SANDBOX_TOKEN_FILE=/path, the
# same on every node.
set -euo pipefail

: "${MODEL:?the model: a folder or a name on the Hugging Face hub}"
: "${TRAIN:?the training problems: a parquet file in the format of verl}"
: "${VAL:?the validation problems: a parquet file in the format of verl}"
: "${SANDBOX:?endpoints, separated by commas: http://host-0:8080,http://host-1:8080; or ray}"
endpoints="[$SANDBOX]"
if [[ $SANDBOX == ray ]]; then endpoints=ray; fi

overrides=(
  "+tir=${RECIPE:-simpletir}"
  "tir.sandbox.endpoints=$endpoints"
  "tir.sandbox.token_file=${SANDBOX_TOKEN_FILE:-null}"
  "data.train_files=$TRAIN"
  "data.val_files=$VAL"
  "actor_rollout_ref.model.path=$MODEL"
  actor_rollout_ref.actor.strategy=fsdp2
  actor_rollout_ref.actor.use_dynamic_bsz=true
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu=20480
  actor_rollout_ref.rollout.tensor_model_parallel_size=2
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
