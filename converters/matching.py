"""Match the challenge's pictures with its tables: by id, by what lies inside a picture, by class."""

from collections.abc import Collection, Mapping, Sequence

from hilum.converters import rsna
from hilum.converters.dataset import Labelled
from hilum.converters.layout import Layout
from hilum.converters.picture import Box, Picture, inside
from hilum.converters.rsna import LeftOut
from hilum.converters.source import SourceFile

OTHER_CASE = "taken for this id, from which it differs in case"


def files_by_id(files: Sequence[SourceFile], wanted: Collection[str], left_out: list[LeftOut]) -> dict[str, SourceFile]:
    """Files by image id; ids that differ from the table's in case alone take the table's."""
    place = {file.name: number for number, file in enumerate(files, start=1)}
    # Of two that differ in case the table's comes first.
    files = sorted(files, key=lambda file: file.stem not in wanted)
    respelt = rsna.match_case((file.stem for file in files), wanted)
    found: dict[str, SourceFile] = {}
    seen: dict[str, SourceFile] = {}
    for file in files:

        def leave_out(reason: str, image_id: str = "", file: SourceFile = file) -> None:
            left_out.append(LeftOut("file", image_id, file.name, None, reason))

        stem = file.stem
        if not file.name.lower().endswith(".dcm"):
            leave_out("not a .dcm file")
        elif not rsna.SAFE_ID.fullmatch(stem):
            which = f"it is number {place[file.name]:,} of {len(files):,} by name"
            leave_out(f"the file name holds characters other than letters, digits, '.', '_' and '-'; {which}")
        elif stem.casefold() in seen:
            leave_out(f"the same id as {seen[stem.casefold()].parts[-1]}, but for its case perhaps", stem)
        else:
            image_id = respelt.get(stem, stem)
            if image_id != stem:
                left_out.append(LeftOut("note", image_id, file.name, None, OTHER_CASE))
            found[image_id] = seen[stem.casefold()] = file
    return found


def unmatched(train: Mapping[str, SourceFile], labels: rsna.Labels, layout: Layout) -> list[LeftOut]:
    """Pictures without a row in the label table, and rows without a picture."""
    known = {entry.image_id for entry in labels.left_out if entry.what == "image"}
    without_label = [
        LeftOut("image", image_id, file.name, None, f"no row in {layout.labels.parts[-1]}")
        for image_id, file in train.items()
        if image_id not in labels.boxes and image_id not in known
    ]
    without_image = [
        LeftOut("label", image_id, layout.labels.name, None, f"no file {image_id}.dcm among the pictures")
        for image_id in sorted(labels.boxes.keys() - train.keys())
    ]
    return without_label + without_image


def boxes_inside(picture: Picture, labels: rsna.Labels, table: str, left_out: list[LeftOut]) -> tuple[Box, ...] | None:
    """The boxes, cut at the picture's edge; None where an image has boxes and all lie outside: it is left out."""
    boxes = []
    width, height = picture.source_size_wh
    extent = f"the picture of {width} x {height} px"
    for *box, row in labels.boxes[picture.image_id]:
        x, y, box_width, box_height = box
        part = inside((x, y, box_width, box_height), picture.source_size_wh)
        if part is None:
            left_out.append(LeftOut("box", picture.image_id, table, row, f"lies outside {extent}"))
            continue
        if x < 0 or y < 0 or x + box_width > width or y + box_height > height:
            reason = f"reaches beyond {extent}; the part inside is kept"
            left_out.append(LeftOut("part of a box", picture.image_id, table, row, reason))
        boxes.append(part)
    if labels.boxes[picture.image_id] and not boxes:
        reason = "Target is 1, yet all its boxes lie outside the picture"
        left_out.append(LeftOut("image", picture.image_id, table, None, reason))
        return None
    return tuple(boxes)


def class_contradictions(
    images: Sequence[Labelled], classes: Mapping[str, str], name: str | None, labels: rsna.Labels
) -> list[LeftOut]:
    """Where the class table, if there is one, says otherwise than the boxes, or nothing, or speaks of strangers."""
    if name is None:
        return []
    unknown = {entry.image_id for entry in labels.left_out if entry.what == "image"}
    problems = [
        LeftOut("class", image_id, name, None, "its image is not in the label table")
        for image_id in sorted(classes.keys() - labels.boxes.keys() - unknown)
    ]
    for image in images:
        image_id, count = image.picture.image_id, len(image.boxes_xywh)
        said = classes.get(image_id)
        if said is None:
            problems.append(LeftOut("class", image_id, name, None, "no row; the class stays empty"))
        elif said != image.kind:
            reason = f"says {said[:40]!r}, yet the image has {count} boxes; the boxes are kept, the class is not"
            problems.append(LeftOut("class", image_id, name, None, reason))
    return problems
