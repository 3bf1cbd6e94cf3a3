#!/usr/bin/env bash
# SimpleTIR's two stages on Qwen2.5-7B: 16k response tokens and 5 turns, then 24k and 10 from the first one's checkpoint.
# Machine, files and further overrides as for simpletir_qwen2.5_7b.sh, which runs each stage.
#
#   MODEL=Qwen/Qwen2.5-7B TRAIN=train.parquet VAL=aime25.parquet SANDBOX=ray \
#     CHECKPOINTS=/shared/simpletir STEPS_16K=200 STEPS_24K=100 bash simpletir_curriculum_qwen2.5_7b.sh
#
# Started again after an interruption, it resumes where the checkpoints end: a stage that is done ends at once.
set -euo pipefail

: "${CHECKPOINTS:?the folder of the checkpoints of both stages, on storage that every node shares}"
: "${STEPS_16K:?steps of the first stage}"
: "${STEPS_24K:?further steps of the second stage}"
stage="$(dirname "${BASH_SOURCE[0]}")/simpletir_qwen2.5_7b.sh"
common=(
  "trainer.default_local_dir=$CHECKPOINTS"
  trainer.resume_mode=auto
  # The steps decide, not the epochs.
  trainer.total_epochs=1000
  "$@"
)

done_steps=0
if [[ -f $CHECKPOINTS/latest_checkpointed_iteration.txt ]]; then
  done_steps=$(<"$CHECKPOINTS/latest_checkpointed_iteration.txt")
fi
if ((done_steps < STEPS_16K)); then
  RECIPE=simpletir bash "$stage" "${common[@]}" "trainer.total_training_steps=$STEPS_16K"
fi

RECIPE=simpletir_long bash "$stage" "${common[@]}" \
  "trainer.total_training_steps=$((STEPS_16K + STEPS_24K))" \
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu=28672
