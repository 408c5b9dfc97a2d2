"""Cosines between the gradients that a LoRA adapter would have for each of several examples, without the adapter.

LoRA's B starts at zero, so that the gradient of A vanishes, that of B alone counts, and the adapted model computes what
the base model does. The gradient of B is the sum over tokens of (gradient of the layer's output) (A x)^T, up to a
factor that cosines do not see: a hook on the layer finds both factors, and no adapter is needed.

Once every example has passed backwards through a layer, the products between their gradients are added to one matrix,
and the factors are dropped. Where all examples go through the model together nothing else is ever kept. Otherwise the
factors wait for the last batch; where those of all layers would take more room than there is, several passes go
through the batches, each for some of the layers: slower, but exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from engine.errors import ModelError
from engine.learning.below import is_linear
from engine.learning.factors import RANK, Piece, Shelf, alive, inner_products
from engine.learning.models import Progress, silent

_SMALLEST_ROOM = 256 << 20  # bytes
_ALIKE = 4  # examples of similar length that are multiplied together

Floats = NDArray[np.float64]
Span = tuple[int, int, int]
# Examples of a batch, the places of their tokens (examples, tokens), and which of these count (examples, tokens, 1).
Alike = tuple[list[int], torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """Examples that went through the model together.

    Attributes:
        losses: The loss of each, shape (examples,).
        shape: Rows and tokens of the padded input.
        spans: Row, first token and end of each example in it.
    """

    losses: torch.Tensor
    shape: tuple[int, ...]
    spans: list[Span]
    _alike: list[Alike] = field(default_factory=list)

    def alike(self, device: torch.device) -> list[Alike]:
        """Return examples of similar length, so that one product serves several: where their tokens lie among all."""
        if not self._alike:
            order = sorted(range(len(self.spans)), key=lambda k: self.spans[k][2] - self.spans[k][1])
            for some in (order[first : first + _ALIKE] for first in range(0, len(order), _ALIKE)):
                starts = torch.tensor([self.spans[k][0] * self.shape[1] + self.spans[k][1] for k in some])
                lengths = torch.tensor([self.spans[k][2] - self.spans[k][1] for k in some])
                token = torch.arange(int(lengths.max()))
                # Beyond its end an example repeats its last token, which does not count.
                place = starts[:, None] + token.minimum(lengths[:, None] - 1)
                self._alike.append((some, place.to(device), (token < lengths[:, None])[..., None].to(device)))
        return self._alike


class Examples(Protocol):
    """Examples with a loss under a model."""

    @property
    def model(self) -> PreTrainedModel:
        """The model, in evaluation mode; its linear layers are adapted, its output head aside."""

    @property
    def ids(self) -> list[list[int]]:
        """The token ids of each example."""

    @property
    def packs(self) -> bool:
        """Whether a batch takes no more room than its tokens, whatever their lengths."""

    def batch(self, rows: list[int]) -> Batch:
        """The losses of these examples, each of which depends on that example alone."""


def cosines(examples: Examples, *, seed: int = 0, progress: Progress = silent) -> Floats:
    """Return the cosines between gradients, shape (k, k), of the k examples that have one.

    Args:
        examples: The examples under their model, which is not changed.
        seed: Seed of the adapter's start.
        progress: Called with the share done.

    Raises:
        ModelError: The gradients are not finite.
    """
    products = _Products(examples, seed)
    with _frozen(examples.model):
        # A layer that mixes the examples of a batch, as one that all of them share, is met one example at a time.
        if not products.collect(_plan(examples, products.layers), progress):
            products.collect([[i] for i in range(len(examples.ids))], progress)
    gram = products.gram.cpu().numpy()
    if not np.isfinite(gram).all():
        raise ModelError("The model's gradients are not finite numbers; its weights may be damaged: load it anew.")
    length = np.sqrt(np.diag(gram))
    # An example that the model fits exactly has no direction; it says nothing of the others.
    some = length > 0
    return np.asarray(np.clip(gram[np.ix_(some, some)] / np.outer(length[some], length[some]), -1.0, 1.0))


@dataclass
class _Layer:
    """A linear layer with its A; of B's gradient, the factors that wait for other examples."""

    module: nn.Module
    down: torch.Tensor
    calls: int = 0  # in this batch, of which no gradient has come back yet
    waiting: list[Piece] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Number of outputs."""
        return int(self.module.nf if isinstance(self.module, Conv1D) else self.module.out_features)  # type: ignore[arg-type]


def _adapted(model: PreTrainedModel, seed: int) -> list[_Layer]:
    """The linear maps that PEFT's "all-linear" names, each with an A as PEFT draws it; a tensor of experts is none."""
    generator = torch.Generator().manual_seed(seed)
    output = model.get_output_embeddings()
    layers = []
    for module in model.modules():
        if is_linear(module) and module is not output:
            weight = module.weight
            inputs = weight.shape[0] if isinstance(module, Conv1D) else module.in_features
            down = torch.empty(RANK, inputs)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
            layers.append(_Layer(module, down.to(weight.device)))
    return layers


class _Products:
    """The matrix of inner products of the examples' gradients, and the hooks that fill it."""

    def __init__(self, examples: Examples, seed: int) -> None:
        self.examples, self.count = examples, len(examples.ids)
        self.layers = _adapted(examples.model, seed)
        self.place = next(examples.model.parameters()).device
        self.gram = torch.zeros(self.count, self.count, dtype=torch.float64, device=self.place)
        # The lowest outputs that are watched depend on it: backwards goes as far as to them.
        self.root = torch.zeros((), device=self.place, requires_grad=True)
        self.rows: list[int] = []
        self.batch: Batch
        self.hooks: ExitStack
        self.shelf: Shelf
        self.last = self.mixed = False

    def collect(self, plan: list[list[int]], progress: Progress) -> bool:
        """Go through batches of examples; return False, with nothing collected, where a layer mixes them."""
        groups, done = self._groups(plan), 0
        for group in groups:
            self.shelf = Shelf(self.place)
            for rows in plan:
                self._pass(group, rows, last=rows is plan[-1])
                if self.mixed:
                    self._forget()
                    return False
                done += 1
                progress(done / (len(groups) * len(plan)))
            for layer in group:
                self._add(layer)
        return True

    def _pass(self, group: list[_Layer], rows: list[int], *, last: bool) -> None:
        """Take a batch forwards and backwards, watching some layers."""
        self.rows, self.last = rows, last
        # Hooks lead here, and from here the loss leads back to them: one left in place would keep the batch for ever.
        with ExitStack() as self.hooks, torch.enable_grad():
            for layer in group:
                layer.calls = 0
                self.hooks.callback(layer.module.register_forward_hook(partial(self._forwards, layer)).remove)
            self.batch = self.examples.batch(rows)
            if self.batch.losses.requires_grad:
                torch.autograd.grad(self.batch.losses.sum(), self.root, allow_unused=True)

    def _forwards(self, layer: _Layer, _: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        if not output.requires_grad:
            output = output + self.root.to(output.device)
        with torch.no_grad():
            shrunk = args[0] @ layer.down.to(args[0].dtype).T
        layer.calls += 1
        hook = output.register_hook(partial(self._backwards, layer, shrunk))  # type: ignore[no-untyped-call]
        self.hooks.callback(hook.remove)
        return output

    def _backwards(self, layer: _Layer, shrunk: torch.Tensor, gradient: torch.Tensor) -> None:
        layer.calls -= 1
        pieces = alive(self._apart(gradient.to(self.place), shrunk.to(self.place)))
        if self.last and not layer.calls:
            layer.waiting += pieces
            self._add(layer)
        else:
            layer.waiting += [self.shelf.put(piece) for piece in pieces]

    def _apart(self, gradient: torch.Tensor, shrunk: torch.Tensor) -> list[Piece]:
        """The factors of the examples: gradients of outputs, and A x."""
        width = gradient.shape[-1]
        if len(self.rows) == 1:
            return [(self.rows, gradient.reshape(1, -1, width), shrunk.reshape(1, -1, RANK))]
        rows, tokens = self.batch.shape
        if gradient.shape[:-1] not in ((rows, tokens), (rows * tokens,)):
            self.mixed = True
            return []
        gradient, shrunk = gradient.reshape(rows, tokens, width), shrunk.reshape(rows, tokens, RANK)
        if [row for row, _, _ in self.batch.spans] == list(range(rows)):
            return [(self.rows, gradient, shrunk)]
        gradient, shrunk = gradient.flatten(0, 1), shrunk.flatten(0, 1)
        return [
            ([self.rows[k] for k in alike], gradient[place], shrunk[place] * kept)
            for alike, place, kept in self.batch.alike(self.place)
        ]

    def _add(self, layer: _Layer) -> None:
        """Add a layer's inner products, and drop its factors."""
        if not layer.waiting:
            return  # it takes no part in the loss
        self.gram += inner_products(layer.waiting, self.count)
        layer.waiting.clear()

    def _forget(self) -> None:
        self.gram.zero_()
        self.mixed = False
        for layer in self.layers:
            layer.waiting.clear()

    def _groups(self, plan: list[list[int]]) -> list[list[_Layer]]:
        """The layers of each pass: so many that the factors that wait fit into the room that there is."""
        if len(plan) == 1:
            return [self.layers]
        room = _room(self.examples.model)
        groups: list[list[_Layer]] = []
        left = 0
        for layer in self.layers:
            wanted = self._wanted(layer)
            if not groups or wanted > left:
                groups.append([])
                left = room
            groups[-1].append(layer)
            left -= wanted
        return groups

    def _wanted(self, layer: _Layer) -> int:
        """Bytes that a layer's factors, or gradients where these are smaller, take while they wait."""
        token = (layer.width + RANK) * _item(self.examples.model)
        return sum(min(len(ids) * token, RANK * layer.width * 4) for ids in self.examples.ids)


def _plan(examples: Examples, layers: list[_Layer]) -> list[list[int]]:
    """The examples of each batch: all where that takes less room than stored gradients would, else of like length."""
    lengths = [len(ids) for ids in examples.ids]
    count, together = len(lengths), sum(lengths) if examples.packs else len(lengths) * max(lengths)
    # What a token leaves for the way back is about twice the outputs; a stored gradient is `RANK` times them.
    fits = _room(examples.model) // (2 * _item(examples.model) * sum(layer.width for layer in layers))
    on_cpu = next(examples.model.parameters()).device.type == "cpu"
    stored = count * RANK  # tokens whose outputs take as much room as the stored gradients of all examples
    if together <= (min(fits, stored // 2) if on_cpu else fits):
        return [list(range(count))]
    plan: list[list[int]] = [[]]
    waiting = 0
    for i in sorted(range(count), key=lambda i: -lengths[i]):
        # On a CPU batches grow smaller as what waits grows, a gradient at most for each example. A fifth of what is
        # left, and never less than a tenth, kept the peak below that of stored gradients in benchmarks/coslow_speed.py.
        most = min(fits, max((stored - waiting) // 5, stored // 10)) if on_cpu else fits
        if plan[-1] and (len(plan[-1]) + 1) * lengths[plan[-1][0]] > most:
            plan.append([])
        plan[-1].append(i)
        waiting += min(lengths[i], RANK)
    return plan


def _room(model: nn.Module) -> int:
    """Bytes that the factors may take beside the model: a share of its weights, or of a GPU's free memory."""
    place = next(model.parameters()).device
    if place.type == "cuda":
        return int(torch.cuda.mem_get_info(place)[0]) // 4
    return max(sum(p.numel() * p.element_size() for p in model.parameters()) // 8, _SMALLEST_ROOM)


def _item(model: nn.Module) -> int:
    return next(model.parameters()).element_size()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Spare the weights their gradients, and the memory that these would take."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)
