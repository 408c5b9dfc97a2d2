"""Adapters in the product's own pass: the answers and gradients of PEFT's."""

from __future__ import annotations

import pytest
import torch

from engine.learning.averaging import Adapters, adapted
from engine.learning.fused import fuse
from engine.learning.training import has_half_products

HALF = pytest.param(
    True, marks=pytest.mark.skipif(not has_half_products(), reason="This processor has no bfloat16 products.")
)


@pytest.mark.parametrize("half", [False, HALF])
def test_fused_adapters_answer_and_learn_as_pefts_do(tiny_encoder, half):
    def answers(fused):
        model = Adapters(tiny_encoder.model, rank=4, seed=3).start()
        for module in model.modules():
            vars(module).pop("forward", None)
        if fused:
            fuse(model, half=half)
        torch.manual_seed(1)
        for name, p in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.1)
        inputs, mask = tiny_encoder.pad([[5, 6, 7, 8], [9, 10]])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            states = model(input_ids=inputs, attention_mask=mask).last_hidden_state
        (states.float() ** 3 * mask[:, :, None]).sum().backward()  # a layer norm's squares sum to a constant
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        with torch.autocast("cpu", torch.bfloat16, enabled=not half):
            otherwise = model(input_ids=inputs, attention_mask=mask).last_hidden_state
        return states.detach().float()[mask.bool()], gradients, otherwise

    ours, theirs = answers(True), answers(False)
    close = 0.02 if half else 1e-5  # half precision: two digits
    assert float((ours[0] - theirs[0]).norm() / theirs[0].norm()) < close
    assert float((ours[1] - theirs[1]).norm() / theirs[1].norm()) < close
    # In the other precision PEFT itself answers.
    torch.testing.assert_close(ours[2], theirs[2])


def test_adapters_in_training_answer_through_the_fused_maps(tiny_encoder):
    model = Adapters(tiny_encoder.model, rank=4, seed=3).start()
    assert sum("forward" in vars(module) for module in model.modules()) == len(adapted(tiny_encoder.model, 0.0))
