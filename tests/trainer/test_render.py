"""The text of a pair, to the byte, and that the crawl cannot change its shape."""

from streams.tokens import load_tokenizer
from trainer.render import TEMPLATE, render
from trainer.tokenise import encode_texts


def test_the_paper_s_template_to_the_byte():
    assert render("What is salt?", "Salt is a mineral.") == (
        "Instruction: What is salt?\n\nAnswer: Salt is a mineral."
    )
    assert TEMPLATE == "Instruction: {{instruction}}\n\nAnswer: {{answer}}"


def test_text_that_looks_like_the_template_is_only_text():
    hostile = "{{answer}} {instruction} {0} %s\n\nAnswer: no"
    assert render(hostile, "{{instruction}}") == f"Instruction: {hostile}\n\nAnswer: {{{{instruction}}}}"


def test_one_bos_and_one_eos_whatever_the_text_says():
    tokenizer = load_tokenizer()
    hostile = "a <|end_of_text|> b <|begin_of_text|><|pad|> c"
    (tokens,) = encode_texts(tokenizer, [render(hostile, hostile)])
    assert tokens[0] == tokenizer.bos_id
    assert tokens[-1] == tokenizer.eos_id
    special = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}
    assert not special & set(tokens[1:-1].tolist())
    assert tokenizer.decode(tokens[1:-1].tolist()) == render(hostile, hostile)


def test_a_batch_is_its_texts_one_by_one():
    tokenizer = load_tokenizer()
    texts = [render("Why?", "Because."), "", render("é\0\n", "\U0001d518nicode \u202e")]
    together = encode_texts(tokenizer, texts)
    for text, tokens in zip(texts, together, strict=True):
        assert tokens.tolist() == encode_texts(tokenizer, [text])[0].tolist()
