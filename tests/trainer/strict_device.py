"""A device that is not the CPU as far as torch's functions can tell, for machines without one.

Its tensors lie in the machine's memory and carry a mark. Whoever mixes them with others, or looks into them
without bringing them over, gets an error where a GPU would give one. Not seen: what is no torch function,
such as kernels, random generators and what the backward pass does by itself; what is a function of functions,
as in flex attention, where `vmap` takes the mark off; and what another thread does, since a mode is a
thread's own.
"""

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode

STRICT = torch.device("cpu", 0)
"""Torch keeps its index apart from plain `cpu`, and computes as on that."""
_MARK = "_on_strict_device"
_LOOKS_INSIDE = {Tensor.numpy, Tensor.__array__}
_ACROSS = {Tensor.copy_, torch._has_compatible_shallow_copy_type}
"""Take tensors of both sides, as on a GPU."""


def on_strict_device(tensor):
    """Whether it has the mark."""
    return bool(tensor.__dict__.get(_MARK, False))


class StrictDevice(TorchFunctionMode):
    """While entered, `STRICT` is a device of its own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return STRICT if on_strict_device(args[0]) else func(*args)
        if func == Tensor.data.__set__:
            return _assign(func, *args)
        if func in (Tensor.to, Tensor.cpu):
            return _move(func, args, kwargs)
        given = list(_tensors([args, kwargs]))
        if func in _LOOKS_INSIDE and any(map(on_strict_device, given)):
            raise TypeError("can't convert a tensor on the strict device to numpy; use Tensor.cpu() first")
        across = func in _ACROSS or isinstance(func, HigherOrderOperator)
        if not across and len(set(_sides(func, args, kwargs))) > 1:
            raise RuntimeError(f"{func.__name__}: expected all tensors on one device, found two")
        result = func(*args, **kwargs)
        device = kwargs.get("device")
        side = any(map(on_strict_device, given)) if device is None else torch.device(device) == STRICT
        for tensor in _tensors(result):
            if not any(tensor is each for each in given):
                setattr(tensor, _MARK, side)
        return result


def _sides(func, args, kwargs):
    """Where the tensors lie that must lie together: not single numbers of the host, except in a list, and not
    indices of the host."""
    if func == Tensor.__getitem__:
        args = (args[0], [each for each in _tensors(args[1:]) if on_strict_device(each)])
    for each in (*args, *kwargs.values()):
        if isinstance(each, Tensor):
            if each.ndim or on_strict_device(each):
                yield on_strict_device(each)
        else:
            yield from map(on_strict_device, _tensors(each))


def _assign(func, tensor, value):
    func(tensor, value)
    setattr(tensor, _MARK, on_strict_device(value))


def _move(func, args, kwargs):
    tensor, *wanted = args
    wanted += kwargs.values()
    was = on_strict_device(tensor)
    if func == Tensor.cpu:
        wanted = ["cpu"]
    sides = [on_strict_device(to) for to in wanted if isinstance(to, Tensor)]
    sides += [torch.device(to) == STRICT for to in wanted if isinstance(to, str | torch.device)]
    side = sides[0] if sides else was
    result = func(*args, **kwargs)
    if result is tensor and side != was:
        result = tensor.clone()
    if result is not tensor:
        setattr(result, _MARK, side)
    return result


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
