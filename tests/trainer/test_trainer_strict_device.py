"""The device that the learner's tests can do without a GPU refuses what a GPU would refuse."""

import numpy as np
import pytest
import torch
from strict_device import STRICT, StrictDevice


@pytest.fixture(autouse=True)
def strict():
    with StrictDevice():
        yield


def test_tensors_are_where_they_were_made_and_where_they_were_brought():
    there = torch.ones(3, device=STRICT)
    assert there.device == (there * 2).device == torch.zeros_like(there).device == STRICT
    assert torch.ones(3).to(STRICT).device == torch.ones(3).to(there).device == STRICT
    assert there.cpu().device == there.to("cpu", torch.float64).device == torch.device("cpu")
    model = torch.nn.Linear(2, 2).to(STRICT)
    assert {parameter.device for parameter in model.parameters()} == {STRICT}


def test_what_was_brought_over_is_a_copy():
    there = torch.ones(3, device=STRICT)
    here = there.cpu()
    there.add_(1)
    assert here.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: torch.cat([here, there]),
        lambda there, here: torch.where(there > 0, there, here),
        lambda there, here: torch.nn.functional.linear(here, there[None]),
        lambda there, here: here.gather(0, torch.tensor([0], device=STRICT)),
        lambda there, here: here[torch.tensor([0], device=STRICT)],
        lambda there, here: there.add_(here),
    ],
)
def test_tensors_of_both_sides_do_not_meet(mix):
    with pytest.raises(RuntimeError, match="expected all tensors on one device"):
        mix(torch.ones(3, device=STRICT), torch.ones(3))


def test_what_a_gpu_takes_from_the_host_is_taken():
    there, here = torch.arange(3.0, device=STRICT), torch.ones(3)
    assert (there * torch.tensor(2.0)).tolist() == [0, 2, 4]  # a single number
    assert there[torch.tensor([2])].tolist() == [2]
    assert there.copy_(here).tolist() == [1, 1, 1]


def test_a_tensor_from_there_is_not_looked_into():
    with pytest.raises(TypeError, match="numpy"):
        torch.ones(3, device=STRICT).numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(torch.ones(3, device=STRICT))
