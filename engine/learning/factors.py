"""The factors of a layer's gradients: where they wait, and the inner products that they give.

The gradient of LoRA's B for one example is the sum over its tokens of (gradient of the layer's output) (A x)^T.
"""

from __future__ import annotations

import torch

RANK = 64
# Bytes of the gradients of one layer that are laid out at a time: what a cache holds, or few calls to a GPU.
_LAID_OUT = {"cpu": 4 << 20, "cuda": 256 << 20}

# An example, and either gradients of outputs (tokens, width) and A x (tokens, rank), or their product (width, rank).
Piece = tuple[int, torch.Tensor, torch.Tensor | None]


class Shelf:
    """One block of memory for all that waits: pieces put down between what comes and goes would leave useless gaps.

    Args:
        size: Bytes of the block; what does not fit is kept beside it.
        place: The device.
    """

    def __init__(self, size: int, place: torch.device) -> None:
        self._block = torch.empty(size, dtype=torch.uint8, device=place)
        self._used = 0

    def put(self, piece: Piece) -> Piece:
        """Return the piece from its place here: its factors, or the gradient itself where that is smaller."""
        i, gradient, shrunk = piece
        assert shrunk is not None
        if _bytes(gradient) + _bytes(shrunk) <= gradient.shape[1] * RANK * 4:
            return i, self._copied(gradient), self._copied(shrunk)
        return i, self._copied(gradient.float().T @ shrunk.float()), None

    def _copied(self, tensor: torch.Tensor) -> torch.Tensor:
        end = self._used + _bytes(tensor)
        if end > len(self._block):
            return tensor.clone()
        place = self._block[self._used : end].view(tensor.dtype).view(tensor.shape)
        self._used = -(-end // 16) * 16
        return place.copy_(tensor)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def inner_products(pieces: list[Piece], count: int) -> torch.Tensor:
    """Return the inner products between the gradients of one layer, shape (count, count), in the cheaper of two ways.

    Args:
        pieces: What there is of each example, in any order; several pieces of an example are summed.
        count: Number of examples; one without a piece has a gradient of zero.
    """
    width = _width(pieces[0])
    tokens = sum(RANK if shrunk is None else len(shrunk) for _, _, shrunk in pieces)
    by_token = tokens**2 * (width + RANK) < (tokens + count**2) * width * RANK
    return (_by_token if by_token else _by_example)(pieces, count)


def _width(piece: Piece) -> int:
    _, gradient, shrunk = piece
    return len(gradient) if shrunk is None else gradient.shape[1]


def _by_token(pieces: list[Piece], count: int) -> torch.Tensor:
    """Inner products from those between tokens: cheaper where there are few."""
    unit = torch.eye(RANK, device=pieces[0][1].device)
    factors = [(i, g.T, unit) if a is None else (i, g.float(), a.float()) for i, g, a in pieces]
    owner = torch.tensor([i for i, g, _ in factors for _ in range(len(g))], dtype=torch.long).to(unit.device)
    gradients, shrunk = torch.cat([g for _, g, _ in factors]), torch.cat([a for _, _, a in factors])
    between = (gradients @ gradients.T) * (shrunk @ shrunk.T)
    half = between.new_zeros(count, len(owner)).index_add_(0, owner, between)
    return between.new_zeros(count, count).index_add_(1, owner, half)


def _by_example(pieces: list[Piece], count: int) -> torch.Tensor:
    """Inner products of the gradients themselves, laid out for some outputs at a time."""
    place, width = pieces[0][1].device, _width(pieces[0])
    step = min(max(_LAID_OUT.get(place.type, _LAID_OUT["cpu"]) // (count * RANK * 4), 1), width)
    absent = sorted(set(range(count)) - {i for i, _, _ in pieces})
    out, room = torch.zeros(count, count, device=place), torch.empty(count * step * RANK, device=place)
    for start in range(0, width, step):
        part = slice(start, min(start + step, width))
        rows = room[: count * (part.stop - start) * RANK].view(count, -1, RANK)
        rows[absent] = 0
        begun = set()
        for i, gradient, shrunk in pieces:
            if shrunk is None or i in begun:
                share = gradient[part] if shrunk is None else gradient[:, part].T.float() @ shrunk.float()
                rows[i] = rows[i] + share if i in begun else share
            else:
                torch.mm(gradient[:, part].T.float(), shrunk.float(), out=rows[i])
            begun.add(i)
        out.addmm_(rows.flatten(1), rows.flatten(1).T)
    return out
