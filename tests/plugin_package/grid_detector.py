"""A detector in plain PyTorch: each cell of a grid says whether the middle of a box lies there, and where its edges."""

import numpy as np
import torch
from supervision import Detections
from torch import nn
from torch.nn import functional as F
from torchvision.ops import nms

from hilum.config import ExperimentConfig, read_config
from hilum.datasets.cache import square_pictures
from hilum.datasets.letterbox import Letterbox
from hilum.predict import Predictor, predict_all
from hilum.training.checkpoint import load_weights
from hilum.training.loop import fit, pick_device, shuffled_batches
from hilum.training.validation import best_operating_point


class GridConfig(ExperimentConfig):
    image_size: int = 64
    epochs: int = 10


class GridDetector:
    Config = GridConfig

    def __init__(self, network, config):
        self.network, self.size = network.eval(), config.image_size

    @classmethod
    def train(cls, config, data, run):
        torch.manual_seed(config.seed)
        net, train, val = network().to(pick_device()), data.split("train"), data.split("val")
        squares = square_pictures(data, "train", config.image_size)

        def found(judged):
            return [result.detections for result in predict_all(Predictor(cls(judged, config), 0.0), val.paths)]

        fit(
            net,
            torch.optim.Adam(net.parameters()),
            loss=loss,
            batches=lambda epoch: shuffled_batches(len(train), 8, config.seed, epoch),
            load=lambda _, some: (
                to_input(squares[some]),
                torch.stack([grid(train, n, config.image_size) for n in some]),
            ),
            learning_rate=lambda _: 0.003,
            validate=lambda judged: {"val_score": best_operating_point(val, found(judged))[1]},
            epochs=config.epochs,
            seed=config.seed,
            run=run,
        )
        return cls.load(run)

    @classmethod
    def load(cls, run):
        net = network()
        load_weights(net, run)
        return cls(net.to(pick_device()), read_config(run, GridConfig))

    @torch.inference_mode()
    def predict_batch(self, images):
        if not images:
            return []
        places = [Letterbox.fit(image.shape[::-1], self.size) for image in images]
        squares = np.stack([place.apply(image) for place, image in zip(places, images, strict=True)])
        cells = self.network(to_input(squares).to(pick_device())).sigmoid().cpu()
        return [detections(one, place) for one, place in zip(cells, places, strict=True)]


def network():
    layers = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in ((1, 16), (16, 32), (32, 64))
    ]
    return nn.Sequential(*layers, nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), nn.Conv2d(64, 5, 1))  # cells of 8 pixels


def to_input(squares):
    return torch.from_numpy(squares)[:, None].float() / 255


def grid(split, number, size):
    """(5, size / 8, size / 8): 1 where the middle of a box lies, and how far its edges are, as shares of the side."""
    cells = torch.zeros(5, size // 8, size // 8)
    for x1, y1, x2, y2 in Letterbox.fit(tuple(split.sizes_wh[number]), size).boxes_to_square(split.boxes_xyxy[number]):
        column, row = int(x1 + x2) // 16, int(y1 + y2) // 16
        x, y = 8 * column + 4, 8 * row + 4
        cells[:, row, column] = torch.tensor([size, x - x1, y - y1, x2 - x, y2 - y]) / size
    return cells


def loss(output, truth):
    there = truth[:, :1]
    misses = (there * (output[:, 1:].sigmoid() - truth[:, 1:]).abs()).sum() / there.sum().clamp(min=1)
    return 10 * F.binary_cross_entropy_with_logits(output[:, :1], there) + misses


def detections(cells, place):
    """(5, rows, columns) of a square as what is found in the picture that lies in it."""
    y, x = torch.meshgrid(*(8 * torch.arange(side) + 4 for side in cells.shape[1:]), indexing="ij")
    left, top, right, bottom = cells[1:] * place.size
    boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=-1).reshape(-1, 4)
    confidence = cells[0].flatten()
    kept = nms(boxes, confidence, 0.3)
    boxes, confidence = place.boxes_to_original(boxes[kept].numpy()), confidence[kept].double().numpy()
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # and not in the padding alone
    return Detections(xyxy=boxes[inside], confidence=confidence[inside], class_id=np.zeros(inside.sum(), int))
