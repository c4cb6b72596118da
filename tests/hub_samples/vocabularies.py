"""Small vocabularies of every kind of tokenizer."""

import io
import json

from hub_samples.samples import CORPUS, TEXTS


def word_pieces() -> list[str]:
    letters = sorted({letter for text in TEXTS for letter in text + text.lower() if not letter.isspace()})
    words = ["the", "The", "quick", "fox", "jump", "##s", "lazy", "dog", "##able", "over", "day"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *words, *letters, *(f"##{one}" for one in letters)]))


def byte_pairs() -> tuple[dict[str, int], list[str]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    model = json.loads(made.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def sentence_pieces() -> bytes:
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=made,
        vocab_size=90,
        hard_vocab_limit=False,
        model_type="unigram",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    return made.getvalue()
