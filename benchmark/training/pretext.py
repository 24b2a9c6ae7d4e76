"""Pre-training for Digits-MLT: a balanced task over other inks, as ImageNet stands to VOC (other labels, same world).

Only training digit images are used. `python -m mltbench.benchmark.training.pretext FILE` makes the weights that the
suite ships.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor, nn

from ...datasets.dataset import Split
from ...datasets.sources.digit_scenes import render_scene, split_digits
from ...datasets.sources.digits_mlt import SEED as DIGITS_SEED
from ..experiments.recipe import DIGITS_AUGMENTATION
from ..networks.backbones import get_backbone
from .augmentation import DRAWS_PER_IMAGE, augment, parameters_from_draws
from .metrics import average_precision

SEED = 77
INKS = ("yellow", "green", "cyan", "violet", "white", "black")
CLASSES = tuple(f"{ink} {digit}" for ink in INKS for digit in range(10))
SCENES = 16000
EPOCHS = 80
BATCH = 128
PEAK_LEARNING_RATE = 0.006


def pretext_scenes(number: int = SCENES) -> Split:
    """Scenes of 1 to 5 digits, every class equally often, from the training digits of Digits-MLT."""
    glyphs, values = split_digits(DIGITS_SEED)["train"]
    generator = RandomState(SEED)
    labels = np.zeros((number, len(CLASSES)), dtype=np.uint8)
    images = []
    for row in labels:
        marks = generator.choice(len(CLASSES), size=generator.randint(1, 6), replace=False)
        row[marks] = 1
        pairs = [(int(c) % 10, INKS[int(c) // 10]) for c in marks]
        images.append(render_scene(pairs, glyphs, values, generator))
    return Split(images=np.stack(images), labels=labels, ids=np.arange(number).astype(str))


def pretrain(scenes: Split, *, epochs: int = EPOCHS) -> nn.Module:
    """Train the small residual network on the pretext task; return its trunk and upper part."""
    torch.manual_seed(SEED)
    backbone = get_backbone("digits-resnet")
    trunk, upper = backbone.build()
    body = nn.ModuleDict({"trunk": trunk, "upper": upper}).to(memory_format=torch.channels_last)
    head = nn.Linear(backbone.width, len(CLASSES))
    steps = epochs * (len(scenes) // BATCH)
    optimiser = torch.optim.AdamW([*body.parameters(), *head.parameters()], lr=PEAK_LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    images, labels = torch.from_numpy(scenes.images), torch.from_numpy(scenes.labels).float()
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(scenes))[: steps // epochs * BATCH].reshape(-1, BATCH):
            draws = parameters_from_draws(torch.rand(BATCH, DRAWS_PER_IMAGE), DIGITS_AUGMENTATION)
            pixels = augment(images[batch], draws, DIGITS_AUGMENTATION, size=images.shape[1])
            loss = nn.functional.binary_cross_entropy_with_logits(head(_features(body, pixels)), labels[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += loss.item()
        sys.stderr.write(f"epoch {epoch + 1}/{epochs}: loss {total / (steps // epochs):.4f}\n")
    with torch.inference_mode():
        logits = head(_features(body.eval(), images[:2000].permute(0, 3, 1, 2).float()))
    ap = average_precision(logits.numpy(), scenes.labels[:2000]).mean()
    sys.stderr.write(f"mAP on 2,000 of its own scenes: {100 * ap:.1f}\n")
    return body


def _features(body: nn.ModuleDict, pixels: Tensor) -> Tensor:
    backbone = get_backbone("digits-resnet")
    normal = (pixels / 255 - backbone.input.mean[0]) / backbone.input.deviation[0]
    features: Tensor = body["upper"](body["trunk"](normal.contiguous(memory_format=torch.channels_last)))
    return features.mean(dim=(2, 3))


def main() -> None:
    """Pre-train and write the weights as float16 arrays to the file named on the command line."""
    body = pretrain(pretext_scenes())
    arrays = {name: value.numpy().astype(np.float16) for name, value in body.state_dict().items()}
    np.savez_compressed(Path(sys.argv[1]), **arrays)


if __name__ == "__main__":
    main()
