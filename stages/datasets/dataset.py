"""What a data set is to the pipeline: one object that holds all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.datasets.images import LabelledImages, RawImages

if TYPE_CHECKING:
    from stages.datasets.checksums import Files


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What a file's content must be: its digest and, where known, its size in bytes."""

    algorithm: str
    hex: str
    size: int | None = None


def sha256(digests: Mapping[str, str], size: int | None = None) -> dict[str, Digest]:
    """Return the digests of files, by name, all of one size where it is given."""
    return {name: Digest(algorithm="sha256", hex=value, size=size) for name, value in digests.items()}


def md5(digests: Mapping[str, str]) -> dict[str, Digest]:
    """Return the digests of files, by name."""
    return {name: Digest(algorithm="md5", hex=value) for name, value in digests.items()}


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set of square images: either it lies in `files`, which `read` reads, or `images` gives all of it.

    Attributes:
        name: As in the setting `data.name` and in the registry.
        size: Side of an image, in pixels; `data.image_size` may be any divisor of it.
        classes: Number of classes.
        channels: Of an image: 3 for colours, 1 for gray.
        training_images: Number of images that networks train on in the whole data set (R12).
        images: Returns all images and labels, in an order that never changes; they are split 60/20/20 into
            training, validation and label images, class by class, and `data.validation_images` is ignored.
            For what an installed package has, or what is computed.
        read: Returns training images, the pool that validation images are taken from, and label images, given
            the files, the number of classes and `data.split_seed`. It raises `DataError` where a file is not
            in the format.
        folder: That the official archive unpacks to; `data.root` is this folder or its parent.
        files: Names of the files in it.
        gzipped: Whether each file may lie there with `.gz` after its name instead.
        checksums: The official digest of every file; empty where none is published: then a manifest has to
            vouch for the files.
        moments: Mean and standard deviation of each channel, for images in 0 … 1; None: those of the training
            images.
        subtract_mean_image: Whether the mean of all training images is subtracted before `moments` apply.
        pad: Whether training images are padded by an eighth of their side and cropped at random (Table 17).
        flip: Whether training images are mirrored at random; not where a mirrored image means something else.
    """

    name: str
    size: int
    classes: int
    channels: int = 3
    training_images: int
    images: Callable[[], LabelledImages] | None = None
    read: Callable[[Files, int, int], RawImages] | None = None
    folder: str = ""
    files: tuple[str, ...] = ()
    gzipped: bool = False
    checksums: Mapping[str, Digest] = field(default_factory=dict)
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    subtract_mean_image: bool = False
    pad: bool = True
    flip: bool = True

    def __post_init__(self) -> None:
        """Check that it says where its images come from, once, and that its parts fit one another."""
        if (self.images is None) == (self.read is None):
            raise ValueError(f"data set {self.name!r} needs either images or read, and not both")
        if (self.read is None) != (not self.files) or bool(self.files) != bool(self.folder):
            raise ValueError(
                f"data set {self.name!r}: read, files and folder belong together; give all or none"
            )
        if self.checksums and set(self.checksums) != set(self.files):
            odd = sorted(set(self.checksums) ^ set(self.files))
            raise ValueError(f"data set {self.name!r}: {odd[0]} is not in both files and checksums")
        if self.moments is not None and any(len(part) != self.channels for part in self.moments):
            raise ValueError(f"data set {self.name!r}: moments are not of {self.channels} channels each")
