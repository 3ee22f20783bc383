"""Septet beside Hugging Face's `Trainer`: the same rows, model, epochs and update size, measured in turn. See README.md."""
