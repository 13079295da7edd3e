"""Loss functions: pure, unreduced, tensors in and tensors out."""
