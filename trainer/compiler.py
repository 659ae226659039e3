"""torch's compiler, which the trainer does not use and which torch's optimisers import."""

import torch

_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def leave_out_compiler() -> None:
    """Keep optimisers of this process from importing torch's compiler, which takes longer than an epoch on MNIST.

    torch wraps these methods so that its compiler does not trace them, and the wrapper imports it unless it finds what
    to call instead. Where another torch wraps them otherwise, nothing changes.
    """
    for name in _METHODS:
        method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)
