"""SAM for other people's BasicSR models, whose own ``optimize_parameters`` is run once more for each second pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from torch import Tensor, nn

from mea_plugin.basicsr.models.optimizers import NamedOptimizers
from mea_plugin.core.errors import InputError
from mea_plugin.optim import SAM, MomentumSAM, NonFiniteGradientError, frozen_buffers, second_pass
from mea_plugin.optim.accumulation import Watch, watch_gradients
from mea_plugin.training import random_state

__all__ = ['SAMModelMixin']

_ADVICE = 'Lower the learning rate or rho, or go on from the last checkpoint'
_OURS = 'Use ExtractionModel or ExtractionGANModel'


class SAMModelMixin(NamedOptimizers):
    """Let ``optim_g: {type: SAM}`` (and ``optim_d``) act in a subclass of ``SRModel`` or ``SRGANModel``.

    Put it before the model's class and register the result::

        from basicsr.utils.registry import MODEL_REGISTRY
        from mea_plugin.basicsr.models.sam_mixin import SAMModelMixin

        @MODEL_REGISTRY.register()
        class SAMHATModel(SAMModelMixin, HATModel):
            pass

    In the option file, ``model_type: SAMHATModel`` and, for instance,
    ``optim_g: {type: SAM, base_optimizer: Adam, rho: 0.05, lr: !!float 2e-4}``. Variants of SAM and torch's optimizers
    can be named as well.

    When the model's own ``optimize_parameters`` calls ``step()`` of an optimizer that is SAM, the weights climb and the
    method is run again from its start, up to the same call of ``step()``; then the weights are restored, the optimizer
    steps, and the first run continues. So the averaged weights move once, and ``log_dict`` holds the terms at ``w``.
    The second run sees the model's attributes, random numbers (torch, numpy, Python) and buffers as the first did, and
    leaves all of them as the first left them. Other optimizers do not step in it. In that of the discriminator the
    generator is not run: its calls return what they returned in the first run, so both passes see the same images.

    The generator's losses are computed in the discriminator's second run, too, without being used: SAM on both networks
    costs a little more than with :class:`~mea_plugin.basicsr.models.gan_model.ExtractionGANModel`.

    Raises:
        InputError: The model is no ``SRModel``, or its step cannot be repeated: it uses a gradient scaler, accumulates
            gradients over iterations, calls ``step`` with a closure or twice, has SAM's ``first_pass: local`` under a
            launcher, or MomentumSAM in a GAN. Or a gradient is not finite.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not issubclass(cls, SRModel):
            raise InputError(
                f"SAMModelMixin needs a subclass of BasicSR's SRModel, and '{cls.__name__}' is none",
                where=cls.__name__,
                do='Write class MyModel(SAMModelMixin, SRModel)',
            )

    def setup_optimizers(self) -> None:
        """As the model's; refuses what cannot be repeated."""
        super().setup_optimizers()
        model: Any = self
        for name, optimizer in zip(('optim_g', 'optim_d'), self.optimizers, strict=False):
            where = f'train.{name}'
            if isinstance(optimizer, MomentumSAM) and len(self.optimizers) > 1:
                raise InputError('MomentumSAM cannot act in a GAN of SAMModelMixin', where=where, do=_OURS)
            if isinstance(optimizer, SAM) and optimizer.first_pass == 'local' and model.opt['dist']:
                raise InputError("first_pass is 'local' in a model of SAMModelMixin", where=where, do=_OURS)

    def optimize_parameters(self, current_iter: int) -> None:
        """Run the model's own step, with a second pass for each optimizer that is SAM."""
        inherited: Any = super()
        _Iteration(self, lambda: inherited.optimize_parameters(current_iter), current_iter).run()


class _RunEndedError(Exception):
    """Ends a second run of ``optimize_parameters`` where the optimizer would step."""


class _Iteration:
    """One call of a model's ``optimize_parameters``, and the second runs of it."""

    def __init__(self, model: Any, method: Callable[[], None], current_iter: int) -> None:
        self._model, self._method, self._where = model, method, f'iteration {current_iter}'
        self._optimizers: list[torch.optim.Optimizer] = model.optimizers
        self._networks = [value for value in vars(model).values() if isinstance(value, nn.Module)]
        self._devices = [torch.cuda.current_device()] if model.device.type == 'cuda' else []
        self._attributes, self._random = dict(vars(model)), random_state.capture(self._devices)
        self._own_steps = {id(optimizer): optimizer.step for optimizer in self._optimizers}
        self._watches: dict[int, Watch] = {}
        self._stepped: set[int] = set()
        self._outputs: list[tuple[Tensor, dict[str, Any]]] = []
        self._running_again = False

    def run(self) -> None:
        """Run the method, and at each step of SAM its second run.

        Raises:
            InputError: The method cannot be repeated, or a gradient is not finite.
        """
        if any(hasattr(value, 'unscale_') and value.is_enabled() for value in vars(self._model).values()):
            raise self._refused('uses a gradient scaler')
        with ExitStack() as stack:
            for optimizer in self._optimizers:
                self._watches[id(optimizer)] = stack.enter_context(watch_gradients(optimizer))
                stack.enter_context(_replaced(optimizer, 'step', partial(self._step, optimizer)))
                if isinstance(optimizer, SAM):
                    stack.enter_context(optimizer.ahead())
            stack.callback(self._model.net_g.register_forward_hook(self._record).remove)
            try:
                self._method()
            except NonFiniteGradientError as error:
                raise InputError(error.what, where=self._where, do=_ADVICE) from error

    def _step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        """The ``step`` of an optimizer in the first run."""
        if isinstance(optimizer, SAM):
            if args or kwargs:
                raise self._refused('calls step() with a closure')
            if self._watches[id(optimizer)].added:
                raise self._refused('accumulates gradients over several iterations')
            if id(optimizer) in self._stepped:
                raise self._refused('takes two steps of one optimizer in an iteration')
            second_pass(optimizer, lambda: self._run_again(optimizer), None)
        self._stepped.add(id(optimizer))
        return self._own_steps[id(optimizer)](*args, **kwargs)

    def _run_again(self, target: torch.optim.Optimizer) -> None:
        """Run the method up to the step of ``target``; only the gradients of ``target`` change."""
        target.zero_grad()
        with ExitStack() as stack:
            stack.enter_context(self._as_at_the_start())
            stack.enter_context(_without_gradients(one for one in self._optimizers if one is not target))
            stack.enter_context(frozen_buffers(*self._networks))
            no_step = _resetting_buffers(self._networks)
            for optimizer in self._optimizers:
                step = _end_run if optimizer is target else no_step
                stack.enter_context(_replaced(optimizer, 'step', step))
            if target is not self._model.optimizer_g:
                stack.enter_context(_replaced(self._model.net_g, 'forward', self._replay()))
            try:
                self._method()
            except _RunEndedError:
                return
        raise self._refused('did not come to the same step() when it was run again')

    @contextmanager
    def _as_at_the_start(self) -> Iterator[None]:
        """Run the body with the attributes and random numbers that the first run began with."""
        attributes = vars(self._model)
        now = dict(attributes)
        try:
            with random_state.preserved(self._devices):
                random_state.restore(self._random, self._devices)
                attributes.clear()
                attributes.update(self._attributes)
                self._running_again = True
                yield
        finally:
            self._running_again = False
            attributes.clear()
            attributes.update(now)

    def _record(self, network: nn.Module, inputs: Any, output: Tensor) -> None:
        """A hook of the generator: keep what it returns in the first run, and the random state it leaves."""
        if len(self._optimizers) > 1 and not self._running_again:
            self._outputs.append((output.detach(), random_state.capture(self._devices)))

    def _replay(self) -> Callable[..., Tensor]:
        """A forward method of the generator that returns what it returned in the first run."""
        outputs = iter(self._outputs)

        def forward(*args: Any, **kwargs: Any) -> Tensor:
            output, state = next(outputs)
            random_state.restore(state, self._devices)
            return output.clone().requires_grad_()  # the model may backpropagate to it

        return forward

    def _refused(self, fault: str) -> InputError:
        what = f'{type(self._model).__name__}.optimize_parameters {fault}, so SAM cannot run it again'
        return InputError(what, where=self._where, do=_OURS)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of an object while the body runs."""
    own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@contextmanager
def _without_gradients(optimizers: Iterable[torch.optim.Optimizer]) -> Iterator[None]:
    """Run the body with no gradients on the optimizers' parameters, and put their gradients back."""
    params = [param for optimizer in optimizers for group in optimizer.param_groups for param in group['params']]
    grads = [param.grad for param in params]
    try:
        for param in params:
            param.grad = None
        yield
    finally:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad


def _end_run(*args: Any, **kwargs: Any) -> None:
    raise _RunEndedError


def _resetting_buffers(networks: Sequence[nn.Module]) -> Callable[..., None]:
    """A ``step`` that takes none, and sets all buffers to what they are now."""
    buffers = [(buffer, buffer.detach().clone()) for network in networks for buffer in network.buffers()]

    def step(*args: Any, **kwargs: Any) -> None:
        for buffer, value in buffers:
            buffer.data.copy_(value)

    return step
