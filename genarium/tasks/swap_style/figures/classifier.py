"""A classifier of drawing styles, trained on real drawings, that judges swaps of style."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from genarium.data.images import ImageData
from genarium.data.mapped import Images

EPOCHS = 12


class StyleClassifier(nn.Module):
    """A small convolutional network for pictures of 16 pixels and more, which classifies the style of a drawing.

    Features of ImageNet will not do: they are made to be the same however a thing is drawn.

    Args:
        channels: of the images.
        num_styles: of the answers.
    """

    def __init__(self, channels: int, num_styles: int):
        super().__init__()
        sizes = ((4 * channels, 32, 3, 1), (32, 32, 3, 1), (32, 64, 4, 2), (64, 128, 4, 2), (128, 128, 3, 1))
        layers: list[nn.Module] = []
        for a, b, kernel, stride in sizes:
            layers += [nn.Conv2d(a, b, kernel, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.layers = nn.Sequential(nn.PixelUnshuffle(2), *layers)
        self.head = nn.Linear(2 * 128, num_styles)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits [B, num_styles] of images [B, C, H, W] in [-1, 1]."""
        h = self.layers(x)
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))

    @torch.no_grad()
    def accuracy(self, images: Images, styles: torch.Tensor) -> float:
        """Return the share of images, uint8 [N, C, H, W], that are classified as these styles, int64 [N]."""
        self.eval()
        answers = torch.cat([self(batch.float() / 127.5 - 1).argmax(1) for batch in images.split(256)])
        return (answers == styles).double().mean().item()


def train_classifier(data: ImageData, epochs: int = EPOCHS, batch_size: int = 128, seed: int = 0) -> StyleClassifier:
    """Train a classifier on real drawings, in float32 on the CPU. The result is the same each time for one number of threads.

    Args:
        data: with pairs, which hold the style of each image.
        epochs: passes over them.
        batch_size: of a step.
        seed: of the weights, the order and the mirroring.
    """
    assert data.pairs is not None
    styles = data.pairs.styles
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StyleClassifier(data.images.shape[1], int(styles.max()) + 1)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * -(-len(data) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    model.train()
    with tqdm(total=steps, desc="classifier of styles", leave=False) as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(data), generator=generator).split(batch_size):
                loss = F.cross_entropy(model(data.pixels(rows, generator)), styles[rows], label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval().requires_grad_(False)
