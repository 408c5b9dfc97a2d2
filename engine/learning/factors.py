"""The factors of a layer's gradients: where they wait, and the inner products that they give.

The gradient of LoRA's B for one example is the sum over its tokens of (gradient of the layer's output) (A x)^T.
"""

from __future__ import annotations

import torch

RANK = 64
# Bytes of the gradients of one layer that are laid out at a time: what a cache holds, or few calls to a GPU.
_LAID_OUT = {"cpu": 4 << 20, "cuda": 256 << 20}
_BLOCK = 4 << 20  # bytes of what waits that are asked for at a time

# Examples, and either the gradients of outputs (examples, tokens, width) and A x (examples, tokens, rank), or their
# product (examples, width, rank). A token of padding has a gradient of zero.
Piece = tuple[list[int], torch.Tensor, torch.Tensor | None]


class Shelf:
    """Blocks of memory for all that waits: pieces put down between what comes and goes would leave useless gaps.

    A block is small enough to lie where a batch that is done has lain.

    Args:
        place: The device.
    """

    def __init__(self, place: torch.device) -> None:
        self._block = torch.empty(0, dtype=torch.uint8, device=place)
        self._used = 0

    def put(self, piece: Piece) -> Piece:
        """Return the piece from its place here: its factors, or the gradients themselves where these are smaller."""
        examples, gradient, shrunk = piece
        assert shrunk is not None
        count, _, width = gradient.shape
        if _bytes(gradient) + _bytes(shrunk) <= count * width * RANK * 4:
            return examples, self._room(gradient).copy_(gradient), self._room(shrunk).copy_(shrunk)
        product = self._room(torch.empty(count, width, RANK, device="meta"))
        return examples, torch.bmm(gradient.float().transpose(1, 2), shrunk.float(), out=product), None

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        size = _bytes(like)
        if self._used + size > len(self._block):
            self._block = torch.empty(max(size, _BLOCK), dtype=torch.uint8, device=self._block.device)
            self._used = 0
        place = self._block[self._used : self._used + size].view(like.dtype).view(like.shape)
        self._used += -(-size // 16) * 16  # so that any type begins where it may
        return place


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def inner_products(pieces: list[Piece], count: int) -> torch.Tensor:
    """Return the inner products between the gradients of one layer, shape (count, count), in the cheaper of two ways.

    Args:
        pieces: What there is of the examples, in any order; several pieces of an example are summed.
        count: Number of examples; one without a piece has a gradient of zero.
    """
    width = _width(pieces[0])
    tokens = sum(len(examples) * (RANK if shrunk is None else shrunk.shape[1]) for examples, _, shrunk in pieces)
    by_token = tokens**2 * (width + RANK) < (tokens + count**2) * width * RANK
    return (_by_token if by_token else _by_example)(pieces, count)


def _width(piece: Piece) -> int:
    _, gradient, shrunk = piece
    return gradient.shape[1 if shrunk is None else 2]


def _by_token(pieces: list[Piece], count: int) -> torch.Tensor:
    """Inner products from those between tokens: cheaper where there are few."""
    unit = torch.eye(RANK, device=pieces[0][1].device)
    owner, gradients, factors = [], [], []
    for examples, gradient, shrunk in pieces:
        tokens = gradient.transpose(1, 2) if shrunk is None else gradient
        owner += [i for i in examples for _ in range(tokens.shape[1])]
        gradients.append(tokens.flatten(0, 1).float())
        factors.append(unit.repeat(len(examples), 1) if shrunk is None else shrunk.flatten(0, 1).float())
    left, right = torch.cat(gradients), torch.cat(factors)
    between = (left @ left.T) * (right @ right.T)
    index = torch.tensor(owner, dtype=torch.long, device=left.device)
    half = between.new_zeros(count, len(owner)).index_add_(0, index, between)
    return between.new_zeros(count, count).index_add_(1, index, half)


def _by_example(pieces: list[Piece], count: int) -> torch.Tensor:
    """Inner products of the gradients themselves, laid out for some outputs at a time."""
    placed, order = _placed(pieces)
    device, width, filled = pieces[0][1].device, _width(pieces[0]), len(order)
    step = min(max(_LAID_OUT.get(device.type, _LAID_OUT["cpu"]) // (filled * RANK * 4), 1), width)
    products, room = torch.zeros(filled, filled, device=device), torch.empty(filled * step * RANK, device=device)
    half = filled // 2  # what lies above it is what lies beside it
    for start in range(0, width, step):
        part = slice(start, min(start + step, width))
        rows = room[: filled * (part.stop - start) * RANK].view(filled, -1, RANK)
        for row, first, (examples, gradient, shrunk) in placed:
            here = rows[row : row + len(examples)]
            if shrunk is None:
                here.copy_(gradient[:, part] if first else here + gradient[:, part])
            elif first:
                torch.bmm(gradient[..., part].transpose(1, 2).float(), shrunk.float(), out=here)
            else:
                here.baddbmm_(gradient[..., part].transpose(1, 2).float(), shrunk.float())
        flat = rows.flatten(1)
        products[:, :half].addmm_(flat, flat[:half].T)
        products[half:, half:].addmm_(flat[half:], flat[half:].T)
    products[:half, half:] = products[half:, :half].T
    index = torch.tensor(order, device=device)
    out = torch.zeros(count, count, device=device)
    out[index[:, None], index] = products
    return out


def _placed(pieces: list[Piece]) -> tuple[list[tuple[int, bool, Piece]], list[int]]:
    """Where each piece begins in rows of gradients, whether it is the first there, and the example of each row."""
    row_of: dict[int, int] = {}
    placed = []
    for piece in pieces:
        together = row_of.keys().isdisjoint(piece[0])
        for part in [piece] if together else _singly(piece):
            first = part[0][0] not in row_of
            for i in part[0]:
                row_of.setdefault(i, len(row_of))
            placed.append((row_of[part[0][0]], first, part))
    return placed, list(row_of)


def _singly(piece: Piece) -> list[Piece]:
    examples, gradient, shrunk = piece
    return [([i], gradient[k : k + 1], None if shrunk is None else shrunk[k : k + 1]) for k, i in enumerate(examples)]


def alive(pieces: list[Piece]) -> list[Piece]:
    """Return pieces without the tokens that have no gradient, where the first token of all is one of them."""
    # Only then is it worth a look: where an answer alone has a loss, no other token of the last layer has a gradient.
    if not pieces or pieces[0][1][0, 0].any():
        return pieces
    found: list[Piece] = []
    for examples, gradient, shrunk in pieces:
        assert shrunk is not None
        some = gradient.any(-1)
        found += [([i], gradient[k, some[k]][None], shrunk[k, some[k]][None]) for k, i in enumerate(examples)]
    return found
