"""Summarize a network: torchinfo's table, parameter and operation counts.

Runs write it to summary.txt; `labs/summary.py` is the command that prints it. Everything runs on torch's meta device, on a copy
without values: no random state changes and no image is read.
"""

import copy
from dataclasses import dataclass

import torch
import torchinfo
from torch import nn


@dataclass(frozen=True)
class Summary:
    """`text` is for people; `params` counts trainable numbers, `mult_adds` the multiply-adds of one image's forward pass.

    Multiply-adds are counted as by torchinfo: biases count, BatchNorm as its two numbers per channel, and additions of skips
    as nothing. None if the forward pass cannot be traced.
    """

    text: str
    params: int
    mult_adds: int | None


def summarize(model: nn.Module, input_shape: tuple[int, int, int], batch_size: int) -> Summary:
    """Summarize `model`, which is left untouched, for a batch of images of `input_shape` = (C, h, w).

    If the forward pass needs values, as one that branches on its data does, only modules and parameters are shown.
    """
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    try:
        text, mult_adds = _followed(model, input_shape, batch_size)
    except Exception as error:  # of the user's own forward: a summary must not end the run
        reason = " ".join(str(error.__cause__ or error).split()) or type(error.__cause__ or error).__name__
        text = (
            f"{model}\nTrainable parameters: {params:,}\nNo shapes: the forward pass does not run without numbers ({reason})\n"
        )
        mult_adds = None
    return Summary(text, params, mult_adds)


def _followed(model: nn.Module, input_shape: tuple[int, int, int], batch_size: int) -> tuple[str, int]:
    """torchinfo's table, and the multiply-adds of one image; raises whatever the forward pass does without numbers."""
    on_meta = copy.deepcopy(model).to("meta").eval()
    batch = torch.zeros(batch_size, *input_shape, device="meta")
    columns = ("input_size", "output_size", "num_params", "mult_adds")
    table = torchinfo.summary(on_meta, input_data=batch, device="meta", col_names=columns, depth=5, verbose=0)
    output = tuple(on_meta(batch).shape)
    for layer in table.summary_list:  # torchinfo counts those of the batch
        layer.macs //= batch_size
    table.total_mult_adds //= batch_size
    table.formatting.macs_units = torchinfo.Units.NONE  # as a whole number, like the parameters
    shown = (
        str(table)
        .replace(" Mult-Adds\n", " Mult-Adds per image\n", 1)
        .replace("Total mult-adds:", "Total mult-adds per image:", 1)
    )
    text = f"{shown}\nOutput for a batch of {batch_size}: {list(output)}\n"
    return text, int(table.total_mult_adds)
