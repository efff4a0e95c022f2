"""Room: Calf, the embedded base model: world, corpus, tokenizer, pretraining, exam, weights."""
