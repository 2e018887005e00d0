"""The report's networks and training step in Keras, written from their description alone: no import of hilum or torch.

`python keras_twin.py ATTEMPT REQUEST.npz ANSWER.npz`. A process of its own, because TensorFlow and PyTorch's compiler
do not always bear each other in one.

REQUEST holds `weight_0`, `weight_1`, ... in the order in which a forward pass meets them; `small_image`, `small_mask`
and `full_image`, (N, H, W, 1); and `gradients`, (steps, values). ANSWER holds what each test asks for. All is computed
in float64, where nothing hides behind rounding, except `full_evaluation_float32`.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}

import keras
import numpy as np
import tensorflow as tf
from keras import ops


class Twin:
    """A model that remembers its layers with weights in the order in which they are called."""

    def __init__(self, build: Callable[["Twin", Any], Any], dtype: str) -> None:
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        self.layers: list[Any] = []
        image = keras.Input((None, None, 1))
        self.model = keras.Model(image, build(self, image))

    def __getattr__(self, name: str) -> Any:
        """`twin.Conv2D(...)` is Keras' layer."""
        make = getattr(keras.layers, name)

        def layer(*args: Any, **options: Any) -> Any:
            made = make(*args, **options)

            def call(x: Any) -> Any:
                y = made(x)
                self.layers += [made] if made.weights else []
                return y

            return call

        return layer

    @property
    def weights(self) -> list[Any]:
        return [weight for layer in self.layers for weight in layer.weights]

    def set_weights(self, values: list[np.ndarray]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.assign(value)  # refuses other shapes

    def probability(self, image: np.ndarray, *, training: bool) -> np.ndarray:
        return np.array(self.model(image, training=training))


def resnet(k: Twin, image: Any, *, depth: int, head: str, head_momentum: float) -> Any:
    def norm_relu(x: Any, momentum: float = 0.9) -> Any:
        return k.ReLU()(k.BatchNormalization(momentum=momentum)(x))

    channels = 32
    x = k.Conv2D(channels, 3, padding="same", use_bias=False)(image)
    for _ in range(depth):
        channels *= 2
        x = k.MaxPooling2D(2)(k.Conv2D(channels, 1, use_bias=False)(norm_relu(x)))
        for _ in range(2):
            y = k.Conv2D(channels, 3, padding="same", use_bias=False)(norm_relu(x))
            y = k.Conv2D(channels, 3, padding="same", use_bias=False)(norm_relu(y))
            x = k.Add()([y, x])
    if head == "plain":
        x = k.Conv2D(1, 1, activation="sigmoid")(norm_relu(x, head_momentum))
        return k.UpSampling2D(2**depth)(x)
    x = k.Conv2D(256, 1)(norm_relu(x, head_momentum))
    x = k.Conv2DTranspose(128, 8, strides=4, padding="same")(norm_relu(x, head_momentum))
    x = k.Conv2D(1, 1, activation="sigmoid")(norm_relu(x, head_momentum))
    return k.UpSampling2D(2 ** (depth - 2))(x)


def unet(k: Twin, image: Any) -> Any:
    def block(x: Any, channels: int) -> Any:
        y = k.BatchNormalization()(k.Conv2D(channels, 3, padding="same", activation="relu")(x))
        y = k.SpatialDropout2D(0.0)(y)
        y = k.BatchNormalization()(k.Conv2D(channels, 3, padding="same", activation="relu")(y))
        return k.Concatenate()([x, y])

    def level(x: Any, channels: int, below: int) -> Any:
        x = block(x, channels)
        if not below:
            return x
        y = level(k.MaxPooling2D(2)(x), channels * 2, below - 1)
        y = k.Conv2D(channels, 2, padding="same", activation="relu")(k.UpSampling2D(2)(y))
        return block(k.Concatenate()([x, y]), channels)

    return k.Conv2D(1, 1, activation="sigmoid")(level(image, 32, 4))


LEARNING_RATE = 1e-3
ATTEMPTS: dict[str, Callable[[Twin, Any], Any]] = {
    "resnet_try_1": lambda k, image: resnet(k, image, depth=4, head="transposed", head_momentum=0.9),
    "resnet_try_2": lambda k, image: resnet(k, image, depth=4, head="plain", head_momentum=0.9999),
    "resnet_try_4": lambda k, image: resnet(k, image, depth=3, head="plain", head_momentum=0.9),
    "unet_try_1": unet,
}


def bce(mask: Any, p: Any) -> Any:
    return ops.mean(keras.losses.binary_crossentropy(mask, p))


def iou(mask: Any, p: Any) -> Any:
    intersection = ops.sum(mask * p)
    return 1 - (intersection + 1) / (ops.sum(mask) + ops.sum(p) - intersection + 1)


def iou_bce(mask: Any, p: Any) -> Any:
    return 0.5 * bce(mask, p) + 0.5 * iou(mask, p)


def mean_iou(mask: Any, p: Any) -> Any:
    p = ops.round(p)
    intersection, total = ops.sum(mask * p, axis=(1, 2, 3)), ops.sum(mask + p, axis=(1, 2, 3))
    return ops.mean((intersection + 1) / (total - intersection + 1))


def pixel_accuracy(mask: Any, p: Any) -> Any:
    return ops.mean(keras.metrics.binary_accuracy(mask, p))


def adam(gradients: np.ndarray) -> np.ndarray:
    """Where a variable that starts at 0 is after each of some given gradients."""
    variable, optimizer = keras.Variable(np.zeros(gradients.shape[1:])), keras.optimizers.Adam(LEARNING_RATE)
    path = []
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        path.append(np.array(variable))
    return np.array(path)


def answer(build: Callable[[Twin, Any], Any], request: dict[str, np.ndarray]) -> dict[str, Any]:
    given = [request[f"weight_{number}"] for number in range(sum(key.startswith("weight_") for key in request))]
    single = Twin(build, "float32")
    single.set_weights(given)
    said = {"full_evaluation_float32": single.probability(request["full_image"], training=False)}
    twin = Twin(build, "float64")
    said["parameters"] = twin.model.count_params()
    said["trainable"] = sum(int(np.prod(weight.shape)) for weight in twin.model.trainable_weights)
    for size in ("small", "full"):
        for training in (False, True):
            twin.set_weights(given)  # training moves the running statistics
            mode = "training" if training else "evaluation"
            said[f"{size}_{mode}"] = twin.probability(request[f"{size}_image"], training=training)
    mask = request["small_mask"]
    for figure in (bce, iou, iou_bce, mean_iou, pixel_accuracy):
        said[figure.__name__] = figure(mask, said["small_evaluation"])
    twin.set_weights(given)
    with tf.GradientTape() as tape:
        said["loss"] = iou_bce(mask, twin.model(request["small_image"], training=True))
    variables = twin.model.trainable_variables
    keras.optimizers.Adam(LEARNING_RATE).apply(tape.gradient(said["loss"], variables), variables)
    said |= {f"trained_{number}": np.array(weight) for number, weight in enumerate(twin.weights)}
    said["adam"] = adam(request["gradients"])
    return {key: np.array(value) for key, value in said.items()}


if __name__ == "__main__":
    attempt, request_path, answer_path = sys.argv[1:]
    with np.load(request_path) as file:
        np.savez(answer_path, **answer(ATTEMPTS[attempt], dict(file)))
