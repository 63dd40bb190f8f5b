"""Where learners compute in the tests: the first GPU, where there is one, or what TEST_DEVICE says.

`TEST_DEVICE=cpu:0` takes the CPU for a device of its own: see `strict_device`.
"""

import os

import torch

DEVICE = torch.device(os.environ.get("TEST_DEVICE") or ("cuda:0" if torch.cuda.is_available() else "cpu"))
