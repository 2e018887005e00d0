"""What a data set shares with the one that was trained on, as results hold it."""

from collections.abc import Sequence

from hilum.datasets.folder import Dataset, Split
from hilum.datasets.leaks import LEAK, check_between, pair_warnings
from hilum.documents import Count
from hilum.eval.figures import Record


class Meeting(Record):
    """What the images away share with a split at home.

    Attributes:
        between: the split at home, and what the other data set is called.
        patients: who have one name in both; None where one of the data sets knows none.
        their_images: how many images they have at home and away.
        same_pictures, example: files of the same bytes, and the ids of two.
        same_pixels, look_alike, alike_example: images away that are the same as one at home once decoded, others that
            look like one, and the ids of two.
        same_patient: how many of these are of the same patient.
        same_ids: images of one id.
    """

    between: tuple[str, str]
    patients: Count | None = None
    their_images: tuple[Count, Count] = (0, 0)
    same_pictures: Count | None = None
    example: tuple[str, str] | None = None
    same_pixels: Count = 0
    look_alike: Count = 0
    same_patient: Count = 0
    alike_example: tuple[str, str] | None = None
    same_ids: Count = 0


def meetings(home: Dataset, away: Dataset, split: Split, name: str) -> tuple[Meeting, ...]:
    """What they share, by split at home; see `hilum.datasets.leaks.check_between`."""
    return tuple(Meeting.model_validate(pair) for pair in check_between(home, away, split, name))


def meeting_lines(found: Sequence[Meeting]) -> list[str]:
    """A line for each thing that is shared, leaks first."""
    lines = [line for each in found for line in pair_warnings(each.model_dump())]
    return sorted(lines, key=lambda line: not line.startswith(LEAK))
