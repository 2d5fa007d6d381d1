"""What autocast of a GPU does to types, on a CPU, whose own autocast leaves other operations as they are.

After ``aten/src/ATen/autocast_mode.h`` of torch: what is computed in the lower precision, and what in float32.
"""

import torch
from torch.overrides import TorchFunctionMode

LOWER = frozenset(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul __matmul__ __rmatmul__ mm "
    "bmm mv addmm addmv addr addbmm baddbmm chain_matmul einsum prelu scaled_dot_product_attention multi_dot".split()
)
WHOLE = frozenset(
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow __pow__ __rpow__ softplus "
    "layer_norm group_norm norm cosine_similarity cdist dist renorm logsumexp softmax log_softmax sum prod cumsum "
    "cumprod mse_loss l1_loss smooth_l1_loss huber_loss kl_div nll_loss cross_entropy binary_cross_entropy_with_logits "
    "cosine_embedding_loss interpolate upsample pdist".split()
)


class GpuAutocast(TorchFunctionMode):
    """Inside, a CPU's autocast casts what CUDA's would.

    Attributes:
        seen: names of the functions that were given other types than they were called with.
    """

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if torch.is_autocast_enabled("cpu") and name in LOWER | WHOLE:
            wanted = torch.float32 if name in WHOLE else torch.get_autocast_dtype("cpu")
            args = self._cast(args, wanted, name)
            kwargs = {key: self._cast(value, wanted, name) for key, value in kwargs.items()}
        return function(*args, **kwargs)

    def _cast(self, value, wanted, name):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype not in (wanted, torch.float64):
            self.seen.add(name)
            return value.to(wanted)
        if isinstance(value, (list, tuple)):
            return type(value)(self._cast(each, wanted, name) for each in value)
        return value
