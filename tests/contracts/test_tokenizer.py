"""What the rollout takes from a tokenizer of transformers by its backend."""

import random

from tir_tools.demo.tokenizer import train_tokenizer


def test_the_backend_decodes_as_the_tokenizer_does():
    """Special tokens and white space included; any ids, also such as no text would give."""
    tokenizer = train_tokenizer(seed=0)
    chance = random.Random(0)
    for _ in range(500):
        ids = chance.choices(range(len(tokenizer)), k=chance.randint(0, 30))
        whole = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False) == whole
