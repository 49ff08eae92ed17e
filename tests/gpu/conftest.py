"""What all tests on a GPU need."""

import pytest
import torch


@pytest.fixture(autouse=True)
def full_float32():
    """cuDNN's convolutions would use TF32 otherwise, and so would Triton's kernels."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
