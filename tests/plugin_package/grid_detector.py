"""A detector in plain PyTorch: each cell of a grid says whether the middle of a box lies there, and where its edges."""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import nms

from hilum.network_backend import NetworkBackend
from hilum.result import detections_in_picture
from hilum.training.settings import NetworkConfig, TrainSettings


class GridConfig(NetworkConfig):
    image_size: int = 64
    train: TrainSettings = TrainSettings(epochs=10, batch_size=8, learning_rate=0.003)

    def network(self):
        layers = [
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in ((1, 16), (16, 32), (32, 64))
        ]  # cells of 8 pixels
        return nn.Sequential(*layers, nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), nn.Conv2d(64, 5, 1))


class GridDetector(NetworkBackend):
    Config = GridConfig

    def load_batch(self, squares, split, epoch, numbers):
        cells = [grid(split.boxes_in_square(n, self._config.image_size), self._config.image_size) for n in numbers]
        return self.to_input(torch.from_numpy(squares[numbers])), torch.stack(cells)

    def loss(self, output, truth):
        there = truth[:, :1]
        misses = (there * (output[:, 1:].sigmoid() - truth[:, 1:]).abs()).sum() / there.sum().clamp(min=1)
        return 10 * F.binary_cross_entropy_with_logits(output[:, :1], there) + misses

    def detections(self, output, places):
        return [found_in(cells, place) for cells, place in zip(output.sigmoid(), places, strict=True)]


def grid(boxes_xyxy, size):
    """(5, size / 8, size / 8): 1 where the middle of a box lies, and how far its edges are, as shares of the side."""
    cells = torch.zeros(5, size // 8, size // 8)
    for x1, y1, x2, y2 in boxes_xyxy:
        column, row = int(x1 + x2) // 16, int(y1 + y2) // 16
        x, y = 8 * column + 4, 8 * row + 4
        cells[:, row, column] = torch.tensor([size, x - x1, y - y1, x2 - x, y2 - y]) / size
    return cells


def found_in(cells, place):
    """(5, rows, columns) of a square as what is found in the picture that lies in it."""
    y, x = torch.meshgrid(*(8 * torch.arange(side) + 4 for side in cells.shape[1:]), indexing="ij")
    left, top, right, bottom = cells[1:] * place.size
    boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=-1).reshape(-1, 4)
    kept = nms(boxes, cells[0].flatten(), 0.3)
    return detections_in_picture(boxes[kept].numpy(), cells[0].flatten()[kept].numpy(), place)
