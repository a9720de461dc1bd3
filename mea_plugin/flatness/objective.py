"""The loss as a function of the weights, over samples that stay the same: value, gradient, Hessian times vectors.

Sums run batch by batch, so that memory does not grow with the number of samples, and a vector of weights is one flat
tensor, in the order of the network's parameters. The Hessian is applied by differentiating the gradient (Pearlmutter,
Fast Exact Multiplication by the Hessian, 1994): exact, and never formed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mea_plugin.core.errors import InputError
from mea_plugin.optim import frozen_buffers

__all__ = ['Objective']


class Objective:
    """``L(w)``: the mean of a criterion over samples, as a function of a network's trainable weights.

    In evaluation mode batch norm is fixed and dropout off, so that ``L`` is one function of ``w``. In training mode
    batch norm takes its statistics from each batch, as training does (``L`` then depends on the batch size), and
    dropout draws the same masks in every pass; buffers are put back after each batch.

    Args:
        network: Its parameters that require gradients are ``w``.
        queries: ``(n, 3, h, w)``, uint8 (divided by 255), or float as the network is to see it.
        responses: ``(n, 3, s * h, s * w)``, likewise.
        criterion: From prediction and response to a scalar that is a mean over samples.
        forward: What calls the network, if more than it is to be called; by default the network.
        batch_size: Samples that go through the network together; the last batch may be smaller.
        train_mode: Run the network in training mode.
        seed: Of dropout in training mode.

    Raises:
        ValueError: There are no samples, or no weights.
    """

    def __init__(
        self,
        network: nn.Module,
        queries: Tensor,
        responses: Tensor,
        criterion: Callable[[Tensor, Tensor], Tensor],
        *,
        forward: Callable[[Tensor], Tensor] | None = None,
        batch_size: int = 8,
        train_mode: bool = False,
        seed: int = 0,
    ) -> None:
        self.network = network
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if not len(queries) or len(queries) != len(responses) or not self.parameters:
            raise ValueError('an objective needs as many responses as queries, and weights that require gradients')
        self.on_pass: Callable[[], None] = lambda: None
        """Called after each pass over all samples; for progress bars."""
        self._queries, self._responses = queries, responses
        self._criterion = criterion
        self._forward = forward or network
        self._batch_size = batch_size
        self._train_mode = train_mode
        self._seed = seed

    @property
    def size(self) -> int:
        """How many weights there are."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.parameters[0].device

    def loss(self) -> float:
        """``L(w)``."""
        total = 0.0

        def add(loss: Tensor) -> None:
            nonlocal total
            total += float(loss)

        with torch.no_grad():
            self._each_batch(add)
        self.on_pass()
        return total

    def gradient(self) -> tuple[float, Tensor]:
        """``L(w)`` and its gradient, flat."""
        total, gradient = 0.0, self.zeros()

        def add(loss: Tensor) -> None:
            nonlocal total
            total += float(loss.detach())
            gradient.add_(self._flat(torch.autograd.grad(loss, self.parameters, allow_unused=True)))

        with torch.enable_grad():
            self._each_batch(add)
        self.on_pass()
        return total, gradient

    def hessian_products(self, vectors: Sequence[Tensor]) -> list[Tensor]:
        """``H v`` for each of the vectors; the graph of the gradient is made once per batch for all of them.

        Raises:
            InputError: The network has an operation without a second derivative.
        """
        products = [self.zeros() for _ in vectors]
        with torch.enable_grad():
            self._each_batch(lambda loss: self._add_products(loss, vectors, products))
        for _ in vectors:
            self.on_pass()
        return products

    def check_curvature(self) -> None:
        """See, at the price of one batch, whether Hessian products can be had.

        Raises:
            InputError: The network has an operation without a second derivative.
        """
        first = Objective(
            self.network,
            self._queries[: self._batch_size],
            self._responses[: self._batch_size],
            self._criterion,
            forward=self._forward,
            batch_size=self._batch_size,
            train_mode=self._train_mode,
            seed=self._seed,
        )
        first.hessian_products([first.zeros()])

    def _add_products(self, loss: Tensor, vectors: Sequence[Tensor], products: list[Tensor]) -> None:
        first = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
        # What is left out does not depend on the weights: a linear network's gradient under L1.
        curved = [index for index, one in enumerate(first) if one is not None and one.requires_grad]
        if not curved:
            return
        outputs = [first[index] for index in curved]
        if _breaks_off(outputs):
            raise self._no_second_derivative('an operation of it may be differentiated once')
        for number, (vector, product) in enumerate(zip(vectors, products, strict=True), 1):
            parts = self.split(vector)
            try:
                second = torch.autograd.grad(
                    outputs,
                    self.parameters,
                    [parts[index] for index in curved],
                    retain_graph=number < len(vectors),
                    allow_unused=True,
                )
            except RuntimeError as error:
                if 'not implemented' not in str(error):
                    raise
                raise self._no_second_derivative(' '.join(str(error).split())) from error
            product += self._flat(second)

    def _no_second_derivative(self, reason: str) -> InputError:
        name = type(self.network).__name__
        return InputError(
            f'{name} has no second derivative ({reason})', where='hessian', do='Write hessian: ~ to leave it out'
        )

    def zeros(self) -> Tensor:
        """A vector of zeros."""
        like = self.parameters[0]
        return torch.zeros(self.size, dtype=like.dtype, device=like.device)

    def split(self, vector: Tensor) -> list[Tensor]:
        """A flat vector as views in the shapes of the parameters."""
        parts = vector.split([parameter.numel() for parameter in self.parameters])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self.parameters, strict=True)]

    @torch.no_grad()
    def move_to(self, weights: Tensor) -> None:
        """Let the network have these weights; only within :meth:`returning`."""
        for parameter, part in zip(self.parameters, self.split(weights), strict=True):
            parameter.copy_(part)

    @contextlib.contextmanager
    def returning(self) -> Iterator[Tensor]:
        """Give the weights, flat, to a body that moves; bit for bit, they are back at its end, whatever happens."""
        saved = [parameter.detach().clone() for parameter in self.parameters]
        try:
            yield torch.cat([one.flatten() for one in saved])
        finally:
            with torch.no_grad():
                for parameter, one in zip(self.parameters, saved, strict=True):
                    parameter.copy_(one)

    def _flat(self, parts: Sequence[Tensor | None]) -> Tensor:
        """One flat tensor; None is zero."""
        pairs = zip(parts, self.parameters, strict=True)
        return torch.cat([(torch.zeros_like(like) if part is None else part).flatten() for part, like in pairs])

    def _each_batch(self, work: Callable[[Tensor], None]) -> None:
        """Hand over each batch's share of the loss, with its graph, while the network is settled."""
        count = len(self._queries)
        for index, start in enumerate(range(0, count, self._batch_size)):
            part = slice(start, start + self._batch_size)
            queries, responses = (self._values(one[part]) for one in (self._queries, self._responses))
            with self._settled(index):
                work(self._criterion(self._forward(queries), responses) * (len(queries) / count))

    def _values(self, images: Tensor) -> Tensor:
        moved = images.to(self.device)
        return moved.float().div_(255) if images.dtype == torch.uint8 else moved

    @contextlib.contextmanager
    def _settled(self, index: int) -> Iterator[None]:
        """The network in its mode; whatever is drawn, the same each time; on a GPU, the same digits each time."""
        modes = [(module, module.training) for module in self.network.modules()]
        on_gpu = self.device.type == 'cuda'
        with contextlib.ExitStack() as stack:
            if on_gpu:
                stack.enter_context(torch.backends.cudnn.flags(True, False, True, False))
            if self._train_mode:
                stack.enter_context(frozen_buffers(self.network))
                stack.enter_context(torch.random.fork_rng([self.device] if on_gpu else []))
                torch.manual_seed(self._seed + index)
            self.network.train(self._train_mode)
            try:
                yield
            finally:
                for module, mode in modes:
                    module.training = mode


def _breaks_off(outputs: Sequence[Tensor | None]) -> bool:
    """Whether a gradient's graph ends in an operation that may be differentiated once.

    Such an operation (``once_differentiable``) leaves a node that raises when it is reached. Where gradients in named
    tensors are asked for, it is never reached, and what goes through it would be missing from the sum without a word.
    """
    seen: set[Any] = set()
    todo = [output.grad_fn for output in outputs if output is not None]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node.name() == 'torch::autograd::Error':
            return True
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
    return False
