"""How far training pictures may be varied."""

from pydantic import Field

from hilum.config import Table


class Augmentation(Table):
    """How far pictures are varied; 0 turns a kind off. The default is the capstone report's: flips alone.

    Attributes:
        flip: Share of the pictures that are mirrored left to right.
        rotate_degrees: Turned by up to this much, either way.
        scale: Enlarged by a factor between 1 / (1 + scale) and 1 + scale.
        translate: Moved by up to this share of the side, across and down.
        shear_degrees: Slanted sideways by up to this much, either way.
        gamma: Brightness 0..1 to a power between 1 / (1 + gamma) and 1 + gamma.
        noise: Gaussian noise, whose standard deviation is up to this share of the range from black to white.
        cutout: Share of the pictures in which a rectangle, of sides 1/10 to 1/4 of the picture's, is covered.
    """

    flip: float = Field(default=0.5, ge=0, le=1)
    rotate_degrees: float = Field(default=0, ge=0, le=45)
    scale: float = Field(default=0, ge=0, le=1)
    translate: float = Field(default=0, ge=0, le=0.5)
    shear_degrees: float = Field(default=0, ge=0, le=30)
    gamma: float = Field(default=0, ge=0, le=2)
    noise: float = Field(default=0, ge=0, le=0.5)
    cutout: float = Field(default=0, ge=0, le=1)
