"""Memory that a computation in torch needs, counted on tensors without values before any of it is taken."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

#: Tensors of at most so many elements are computed with their values: timesteps, labels, and masks' places.
SMALL = 65536
_aten = torch.ops.aten


class ShapeError(RuntimeError):
    """Tensors do not fit one another, or are too small for what is done to them: with values it would fail, too."""


def without_values(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of a network whose tensors have shapes alone, but for integer, boolean and small buffers.

    Those say which voxels are taken, and so decide shapes. The network itself is not touched.
    """
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = torch.nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in network.buffers():
        kept = not buffer.is_floating_point() or buffer.numel() <= SMALL
        memo[id(buffer)] = buffer.detach().cpu().clone() if kept else torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, memo)


def nothing(index: int, shape: Sequence[int]) -> torch.Tensor:
    """A source of noise (`RelAPETLib.methods.base.NoiseSource`) without values."""
    return torch.empty(tuple(shape), device="meta")


def peak_bytes(computation: Callable[[], Any]) -> int:
    """Largest sum of bytes of all tensors that `computation` makes and that live at one time.

    Its large tensors are to lie on the device ``meta``, where nothing is computed: `without_values`, `nothing`. What
    a device takes beside tensors, such as a convolution's workspace, is not in it.

    Raises:
        ShapeError: tensors of it do not fit one another.
        RuntimeError or NotImplementedError: it asks for the value of a tensor that has none.
    """
    with torch.inference_mode(), _Counter() as counter:
        computation()
    return counter.peak


class _Counter(TorchDispatchMode):
    """Counts the bytes of storages from the operation that makes them until nobody holds them.

    Tensors with and without values may meet: what comes of both has none.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: to skip it, torch would import its compiler, a second's worth of modules."""
        return False

    def __torch_dispatch__(self, called, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if called._can_decompose() and called not in _SHAPES:
            with self:
                made = called.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        given = list(_tensors((args, kwargs)))
        without = any(tensor.is_meta for tensor in given)
        if without:
            args, kwargs = _emptied(called, args, kwargs)
        elif not given and str(kwargs.get("device")) == "meta" and called is not _aten.empty.memory_format:
            kwargs["device"] = torch.device("cpu")
        made = _shaped(called, args, kwargs) if without else called(*args, **kwargs)
        there = {tensor.untyped_storage()._cdata for tensor in given}
        for tensor in _tensors(made):
            if tensor.untyped_storage()._cdata not in there:
                self._add(tensor)
        return made

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _shaped(called, args, kwargs) -> Any:
    """What an operation on tensors without values gives."""
    if called in _SHAPES:
        return _SHAPES[called](*args, **kwargs)
    if called is _aten._to_copy.default and kwargs.get("dtype") in (None, args[0].dtype):
        return args[0]  # to the device that it would be on
    if called._schema.is_mutable and called._schema.name.endswith("_"):
        return args[0]
    if torch.Tag.pointwise in called.tags and "out" not in kwargs:
        return _voxelwise(called, args, kwargs)
    return called(*args, **kwargs)


def _emptied(called, args, kwargs) -> tuple[Any, dict]:
    """Arguments of an operation in which no tensor has values; masks become the places that they take."""
    if called in (
        _aten.index.Tensor,
        _aten.index_put.default,
        _aten.index_put_.default,
        _aten._index_put_impl_.default,
    ):
        args = (args[0], _places(args[1]), *args[2:])
    if "device" in kwargs:
        kwargs["device"] = torch.device("meta")
    return _replaced(_empty, args), _replaced(_empty, kwargs)


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _tensors(given: Any) -> Iterator[torch.Tensor]:
    """All tensors in arguments or a result of an operation: torch's own trees take most of a count's time."""
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, (tuple, list, dict)):
        for item in given.values() if isinstance(given, dict) else given:
            yield from _tensors(item)


def _replaced(new: Callable[[torch.Tensor], torch.Tensor], given: Any) -> Any:
    """Arguments of an operation with another tensor in each one's place."""
    if isinstance(given, torch.Tensor):
        return new(given)
    if isinstance(given, dict):
        return {name: _replaced(new, item) for name, item in given.items()}
    return type(given)(_replaced(new, item) for item in given) if type(given) in (tuple, list) else given


def _places(indices: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Indices with integer ones in place of masks: how many places a mask takes is known by its values alone."""
    found: list[torch.Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype in (torch.bool, torch.uint8):
            count = int(index.count_nonzero())
            found += [torch.empty(count, dtype=torch.long, device="meta")] * index.ndim
        else:
            found.append(index)
    return found


def _fit(one: Any, other: Any, what: str) -> None:
    """Raise `ShapeError` where two sizes that an operation wants the same are not."""
    if one != other:
        raise ShapeError(f"{what} do not fit: {one} and {other}")


def _broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that all of them are brought to. Raises `ShapeError` where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(f"shapes do not fit: {' and '.join(str(list(shape)) for shape in shapes)}") from error


# -- shapes that torch works out in Python, for which it imports its compiler, a second's worth of modules -----------


def _new(shape: Sequence[int], like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=dtype or like.dtype, device="meta")


def _voxelwise(called, args, kwargs) -> torch.Tensor:
    """Of an operation that works on each element apart: the type is asked of one element."""

    def one(tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros([1] * tensor.ndim, dtype=tensor.dtype)

    shapes = [tensor.shape for tensor in _tensors((args, kwargs))]
    dtype = called(*_replaced(one, args), **_replaced(one, kwargs)).dtype
    return torch.empty(_broadcast(*shapes), dtype=dtype, device="meta")


def _convolution(image, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    _fit(image.shape[1], weight.shape[0] if transposed else weight.shape[1] * groups, "channels of a convolution")

    def side(axis: int) -> int:
        n, reach = image.shape[axis + 2], dilation[axis] * (weight.shape[axis + 2] - 1)
        if transposed:
            return (n - 1) * stride[axis] - 2 * padding[axis] + reach + output_padding[axis] + 1
        return (n + 2 * padding[axis] - reach - 1) // stride[axis] + 1

    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    return _some((image.shape[0], channels, *(side(axis) for axis in range(image.ndim - 2))), image)


def _some(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """`_new`, but for nothing: raises `ShapeError` where a volume is too small for what is done to it."""
    if min(shape) < 1:
        raise ShapeError(f"a volume of {list(like.shape)} is too small: {list(shape)} would be left of it")
    return _new(shape, like)


def _pooled(image, kernel, stride=(), padding=(0,), ceiling=False, *rest, dilation=(1,)):
    each = (kernel, stride or kernel, padding, dilation)
    every = zip(image.shape[-3:], *((*given, *given[-1:] * 3)[:3] for given in each), strict=True)

    def side(n: int, k: int, s: int, p: int, d: int) -> int:
        found = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceiling else 0)) // s + 1
        return found - 1 if ceiling and (found - 1) * s >= n + p else found  # the last window begins in the volume

    return _some((*image.shape[:-3], *(side(*axis) for axis in every)), image)


def _maximal(image, kernel, stride=(), padding=(0,), dilation=(1,), ceiling=False):
    shape = _pooled(image, kernel, stride, padding, ceiling, dilation=dilation).shape
    return _new(shape, image), _new(shape, image, torch.long)


def _resized(image, size, *rest):
    factors = rest[-1] if size is None else None
    size = size or [int(n * factor) for n, factor in zip(image.shape[2:], factors, strict=True)]
    return _new((*image.shape[:2], *size), image)


def _group_norm(image, weight, bias, batch, channels, voxels, groups, eps):
    _fit(channels % groups, 0, "channels and groups of a norm")
    return _new(image.shape, image), _new((batch, groups), image), _new((batch, groups), image)


def _layer_norm(image, shape, weight, bias, eps):
    kept = (*image.shape[: image.ndim - len(shape)], *(1 for _ in shape))
    return _new(image.shape, image), _new(kept, image), _new(kept, image)


def _alike(image, *rest, dtype=None, **more):
    return _new(image.shape, image, dtype)


def _gathered(image, axis, index, *rest, **more):
    return _new(index.shape, image)


def _softmax(image, *rest, **more):
    return _new(image.shape, image)


def _indexed(image, indices):
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    taken = np.broadcast_shapes(*(indices[axis].shape for axis in axes))
    kept = [n for axis, n in enumerate(image.shape) if axis not in axes]
    first = axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
    return _new((*kept[:first], *taken, *kept[first:]), image)


def _norm(image, order=2, axes=None, kept=False, **more):
    gone = {axis % image.ndim for axis in axes} if axes is not None else set(range(image.ndim))
    shape = [1 if axis in gone else n for axis, n in enumerate(image.shape) if kept or axis not in gone]
    return _new(shape, image)


def _quantiles(image, ranks, axis=None, kept=False, **more):
    return _new((*ranks.shape, *_norm(image, 0, None if axis is None else [axis], kept).shape), image)


def _any(image, axis, kept=False):
    return _norm(image, 0, [axis], kept).bool()


def _sum_and_product(added, left, right, **factors):
    _fit(left.shape[1], right.shape[0], "sides of a product")
    return _new((left.shape[0], right.shape[1]), left)


def _linear(image, weight, bias=None):
    _fit(image.shape[-1], weight.shape[1], "numbers of features")
    return _new((*image.shape[:-1], weight.shape[0]), image)


def _product(left, right):
    _fit(left.shape[-1], right.shape[-2 if right.ndim > 1 else 0], "sides of a product")
    rows, columns = left.shape[-2:-1], right.shape[-1:] if right.ndim > 1 else ()
    return _new((*_broadcast(left.shape[:-2], right.shape[:-2]), *rows, *columns), left)


def _stacked(parts, axis=0):
    shape = list(parts[0].shape)
    shape.insert(axis if axis >= 0 else axis + len(shape) + 1, len(parts))
    return _new(shape, parts[0])


def _joined(parts, axis=0):
    parts = [part for part in parts if tuple(part.shape) != (0,)] or parts  # as torch has it
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    for part in parts:
        rest = [list(each.shape) for each in (parts[0], part)]
        rest[0][axis] = rest[1][axis] = shape[axis]
        _fit(*rest, "tensors to be joined")
    return _new(shape, parts[0])


def _padded(image, gaps, *rest):
    ends = [0] * (2 * image.ndim - len(gaps)) + [gap for k in range(len(gaps) - 2, -2, -2) for gap in gaps[k : k + 2]]
    return _new([n + sum(ends[2 * axis : 2 * axis + 2]) for axis, n in enumerate(image.shape)], image)


def _embedded(weight, indices, *rest):
    return _new((*indices.shape, weight.shape[1]), weight)


def _attended(queries, keys, values, *rest, **more):
    """Of a kernel that keeps no product of queries and keys, as torch has one on CPUs and GPUs."""
    return _new((*queries.shape[:-1], values.shape[-1]), queries)


_SHAPES = {
    _aten.convolution.default: _convolution,
    _aten.avg_pool3d.default: _pooled,
    _aten.max_pool3d_with_indices.default: _maximal,
    _aten._adaptive_avg_pool3d.default: _resized,
    _aten.upsample_trilinear3d.vec: _resized,
    _aten.upsample_nearest3d.vec: _resized,
    _aten.index.Tensor: _indexed,
    _aten.gather.default: _gathered,
    _aten.any.dim: _any,
    _aten.quantile.default: _quantiles,
    _aten.linalg_vector_norm.default: _norm,
    _aten.empty_like.default: _alike,
    _aten.zeros_like.default: _alike,
    _aten.ones_like.default: _alike,
    _aten.full_like.default: _alike,
    _aten.bmm.default: _product,
    _aten.linear.default: _linear,
    _aten.matmul.default: _product,
    _aten.stack.default: _stacked,
    _aten.native_group_norm.default: _group_norm,
    _aten.native_layer_norm.default: _layer_norm,
    _aten._safe_softmax.default: _softmax,
    _aten._softmax.default: _softmax,
    _aten.addmm.default: _sum_and_product,
    _aten.cat.default: _joined,
    _aten.constant_pad_nd.default: _padded,
    _aten.reflection_pad3d.default: _padded,
    _aten.replication_pad3d.default: _padded,
    _aten.embedding.default: _embedded,
    _aten.scaled_dot_product_attention.default: _attended,
}
