"""Read lists that name images: ids, one a line or as a column of a CSV."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from hilum.documents import csv_lines, read_text
from hilum.errors import HilumError

ID_COLUMNS = ("patientid", "image_id")
_SHOWN = 10
_MAX_BYTES = 1 << 26
_LONGEST = 128  # characters of an id


def read_id_list(path: Path) -> dict[str, int]:
    """Ids of images and the line that names each, from a text file with one a line or a CSV with a column `patientId`.

    Raises:
        HilumError: not readable, empty, or a line names no id or one that is there already; one line a problem.
    """
    table = _read(path)
    header = [name.strip().lower() for name in table[0][1]] if table else []
    if any(name in header for name in ID_COLUMNS):
        named = [(line, values[0]) for line, values in _columns(path, table, ID_COLUMNS)]
    else:
        named = [(line, ",".join(cells).strip()) for line, cells in table]
    lines: dict[str, int] = {}
    problems = []
    for line, image_id in named:
        if not image_id or "," in image_id:
            problems.append(f"line {line}: expected one image id, found {image_id[:60]!r}")
        elif image_id in lines:
            problems.append(f"line {line}: {image_id[:128]} is named on line {lines[image_id]} already")
        else:
            lines[image_id] = line
    if not named:
        problems.append("names no image")
    refuse(path, problems)
    return lines


def read_named_ids(path: Path) -> set[str]:
    """The ids in the column `patientId` of a label table, where an image has a row for each box.

    Raises:
        HilumError: not readable as a table, or without this column.
    """
    return {values[0] for _, values in _columns(path, _read(path), ID_COLUMNS)}


def match_case(image_ids: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Find ids that `known` holds too, but for their case: id -> as `known` spells it.

    Ids that `known` holds as they are, or that could be two of `known`, are not in the result; nor are two ids that
    could be the same one.
    """
    ours, theirs = set(image_ids), set(known)
    spare: dict[str, list[str]] = {}
    asked: dict[str, list[str]] = {}
    for image_id in theirs - ours:
        spare.setdefault(image_id.lower(), []).append(image_id)
    for image_id in sorted(ours - theirs):
        asked.setdefault(image_id.lower(), []).append(image_id)
    return {
        same[0]: spare[lower][0] for lower, same in asked.items() if len(same) == 1 and len(spare.get(lower, ())) == 1
    }


def lost_zeros(ids: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Ids of digits that a table lost leading zeros of, as spreadsheets and pandas do: id -> as `known` has it.

    Those that `known` has as they are, or that could be several of it, are not in the result.
    """
    ids, known = set(ids), set(known)
    stripped: dict[str, list[str]] = {}
    for image_id in known - ids:
        if image_id.isdecimal() and image_id.startswith("0"):
            stripped.setdefault(image_id.lstrip("0") or "0", []).append(image_id)
    return {image_id: stripped[image_id][0] for image_id in ids - known if len(stripped.get(image_id, ())) == 1}


def one_of_each(ids: Collection[str], known: Collection[str]) -> str:
    """For where ids match none of those that are known: one of either side, and what makes them differ if that is seen.

    Examples:
        >>> one_of_each(["345"], ["00345", "00346"])
        "expected '00345', found '345': save the ids as text, with their leading zeros"
    """
    lost = lost_zeros(ids, known)
    given = min(lost or ids, default="none")
    wanted = lost.get(given, min(known, default="none"))
    hint = ": save the ids as text, with their leading zeros" if lost else ""
    return f"expected {wanted[:_LONGEST]!r}, found {given[:_LONGEST]!r}{hint}"


def refuse(path: Path, problems: list[str]) -> None:
    """Raise if there is a problem; the first of them are told, a line each.

    Raises:
        HilumError: there is one.
    """
    if problems:
        more = [f"{path}: and {len(problems) - _SHOWN:,} more like these"] if len(problems) > _SHOWN else []
        raise HilumError(*(f"{path}: {problem}" for problem in problems[:_SHOWN]), *more)


def refuse_unknown(path: Path, lines: Mapping[str, int], known: Mapping[str, object], where: Path) -> None:
    """Raise for the ids of a list that a dataset folder does not have; where it has none of them, in one line.

    Raises:
        HilumError: there is one; one line each.
    """
    if lines and not lines.keys() & known.keys():
        refuse(path, [f"none of its {len(lines):,} ids is of {where}: {one_of_each(lines, known)}"])
    unknown = [(line, image_id) for image_id, line in lines.items() if image_id not in known]
    refuse(path, [f"line {line}: {where} has no image {image_id[:128]}" for line, image_id in sorted(unknown)])


def _read(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, numbered as an editor shows them."""
    lines = csv_lines(read_text(path, _MAX_BYTES), str(path))
    return [(number, cells) for number, cells in lines if any(cell.strip() for cell in cells)]


def _columns(
    path: Path, table: list[tuple[int, list[str]]], *wanted: tuple[str, ...]
) -> Iterator[tuple[int, list[str]]]:
    """Values of the wanted columns, each of which goes by any of its names, capitals or not."""
    header = [name.strip().lower() for name in table[0][1]] if table else []
    places = []
    for names in wanted:
        place = next((header.index(name) for name in names if name in header), None)
        if place is None:
            shown = ", ".join(header)[:200] or "nothing"
            raise HilumError(f"{path}: expected a column {' or '.join(map(repr, names))}, found {shown}")
        places.append(place)
    for line, cells in table[1:]:
        yield line, [cells[place].strip() if place < len(cells) else "" for place in places]
