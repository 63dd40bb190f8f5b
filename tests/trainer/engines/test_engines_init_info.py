"""What vLLM is told of a way for weights."""

import socket

import pytest

from trainer.device_memory import NCCL_BUFFER_BYTES
from trainer.engine.vllm_transfer import init_info_for


@pytest.mark.parametrize("workers", [1, 4])
def test_nccl_has_the_learner_first_a_free_port_and_the_buffers_that_are_counted(workers):
    info = init_info_for("nccl", workers)
    assert (info.rank, info.world_size) == (0, 1 + workers)
    assert info.packed_num_buffers * info.packed_buffer_size_bytes == 2 * NCCL_BUFFER_BYTES
    with socket.socket() as probe:
        probe.bind((info.master_address, info.master_port))
    assert info.master_address == "127.0.0.1"


def test_ipc_needs_nothing_but_the_learners_rank():
    info = init_info_for("ipc", 1)
    assert (info.backend, info.rank) == ("ipc", 0)
