"""Damaged tables by the thousand: no traceback, no wrong value, and nothing lost without a word.

A table is written in one of the forms that the readers take, as a list of records, and then damaged. A record is
intact if its bytes are still there and begin a line; what such records say must come through.
"""

import csv
import io
import math
import random
import re
import uuid
from collections import Counter

import pytest

from hilum.converters.challenge_tables import CLASSES, read_classes, read_labels
from hilum.datasets.patients import read_patients
from hilum.errors import HilumError

SEEDS = 200
CELLS = ["", "nan", "inf", "-inf", "1e400", "-5", "0", "1", "2", "1,5", "TRUE", "pneumonia", "\u00fc", "\x00", "../a"]
CELLS += ['"', '""', "a.dcm", "9" * 400, "Normal", "\u2028", "1_0"]
KINDS = ["flip", "set", "delete", "insert", "unquote", "cell", "cell", "cut", "drop", "swap", "copy", "junk", "huge"]
KINDS += ["blank", "other", "case"]
BYTES = [b'"', b"\0", b"\n", b"\r", b",", b";", b"\xff", b"\x80", b" ", b"1"]


class Fuzzed:
    """One table in a random form, and what was done to it.

    Attributes:
        records: bytes of each record, with the number it was written as, or None for what is damaged or new.
    """

    def __init__(self, rng, header, rows):
        self.rng, self.header, self.rows = rng, header, rows
        self.encoding = rng.choice(["utf-8"] * 4 + ["utf-8-sig", "utf-16"])
        self.end = rng.choice(["\n", "\n", "\r\n", "\r"])
        self.quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        self.delimiter = rng.choice([",", ",", ";", "\t"])
        extra = rng.choice([None, None, "plain", "of several\nlines, with ; marks"])
        self.several_lines = extra is not None and "\n" in extra
        if self.several_lines:
            self.quoting = csv.QUOTE_ALL
        columns = list(range(len(header)))
        rng.shuffle(columns)
        table = [[record[column] for column in columns] for record in [header, *rows]]
        if extra is not None:
            table = [[*record, extra if number else "remark"] for number, record in enumerate(table)]
        self.records = [(number, self.write(record, first=number == 0)) for number, record in enumerate(table)]
        self.written = {record for _, record in self.records}
        self.columns = columns

    def write(self, cells, *, first=False):
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, quoting=self.quoting, lineterminator=self.end).writerow(cells)
        return self.encode(text.getvalue(), first=first)

    def encode(self, text, *, first=False):
        if self.encoding == "utf-16":
            return b"\xff\xfe" * first + text.encode("utf-16-le")
        return text.encode(self.encoding if first else "utf-8")

    def content(self):
        return b"".join(record for _, record in self.records)

    def intact(self):
        """Numbers of the intact records."""
        found, at, begins_line = set(), 0, True
        for number, record in self.records:
            if number is not None and begins_line and (self.encoding != "utf-16" or at % 2 == 0):
                found.add(number)
            at += len(record)
            begins_line = record.endswith(self.encode(self.end))
        return found if self.records and self.records[0][0] == 0 else found - {0}

    def contested(self):
        """Ids that damaged or new rows speak about: those may contradict the intact ones."""
        others = b"".join(record for number, record in self.records if number is None and record not in self.written)
        return {row[0] for row in self.rows if self.encode(row[0]).lower() in others.lower()}

    def damage(self):
        rng = self.rng
        at = rng.randrange(len(self.records)) if rng.random() < 0.9 else 0  # the header is worth more than its share
        record = self.records[at][1]
        place = rng.randrange(len(record)) if record else 0
        kind = rng.choice(KINDS)
        if kind == "flip" and record:
            flipped = bytes([record[place] ^ 1 << rng.randrange(8)])
            self.records[at] = None, record[:place] + flipped + record[place + 1 :]
        elif kind == "set":
            self.records[at] = None, record[:place] + rng.choice(BYTES) + record[place + 1 :]
        elif kind == "delete":
            self.records[at] = None, record[:place] + record[place + rng.randrange(1, 9) :]
        elif kind == "insert":
            self.records[at] = None, record[:place] + rng.choice(BYTES) * rng.randrange(1, 4) + record[place:]
        elif kind == "unquote":
            quotes = [found.start() for found in re.finditer(b'"', record)]
            if quotes:
                place = rng.choice(quotes)
                self.records[at] = None, record[:place] + record[place + 1 :]
        elif kind == "cell":
            cells = record.split(self.encode(self.delimiter))
            cells[rng.randrange(len(cells))] = self.encode(rng.choice(CELLS))
            self.records[at] = None, self.encode(self.delimiter).join(cells)
        elif kind == "cut":
            self.records = [*self.records[:at], (None, record[:place])]
        elif kind == "drop":
            del self.records[at]
        elif kind == "swap":
            other = rng.randrange(len(self.records))
            self.records[at], self.records[other] = self.records[other], self.records[at]
        elif kind == "copy":
            self.records.insert(rng.randrange(len(self.records)), (None, record))
        elif kind == "junk":
            junk = rng.randbytes(rng.randrange(1, 60)) + self.encode(self.end)
            self.records.insert(at, (None, junk))
        elif kind == "huge":
            cells = ["x" * rng.choice([5_000, 140_000])] * len(self.columns)
            self.records.insert(at, (None, self.write(cells)))
        elif kind == "blank":
            blank = rng.choice(["", " ", self.delimiter * 3]) + self.end
            self.records.insert(at, (None, self.encode(blank)))
        else:  # a further row about an image, with its id as it is or in other case, and the cells of another row
            row, other = rng.choice(self.rows), rng.choice(self.rows)
            image_id = row[0].upper() if kind == "case" else row[0]
            cells = [image_id, *other[1:]]
            self.records.insert(at, (None, self.write([cells[column] for column in self.columns])))


def fuzz(seed, header, rows):
    rng = random.Random(seed)
    table = Fuzzed(rng, header, rows)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        if table.records:
            table.damage()
    return table


def check_message(error):
    message = str(error)
    assert message.startswith("t.csv: ")
    assert message.isprintable()
    assert len(message) < 500


def check_entries(left_out):
    for entry in left_out:
        assert entry.file == "t.csv"
        assert entry.row is not None
        assert entry.row >= 1
        assert entry.reason.isprintable()
        assert entry.image_id.isprintable()
        assert 5 < len(entry.reason) < 500


def image_ids(count):
    rng = random.Random(5)
    return [str(uuid.UUID(int=rng.getrandbits(128) | 0xAB << 120, version=4)) for _ in range(count)]


def label_rows():
    rng = random.Random(6)
    rows = []
    for image_id in image_ids(24):
        boxes = rng.choice([0, 0, 1, 2, 3])
        for _ in range(boxes):
            box = [rng.randrange(900), round(rng.uniform(0, 900), 1), rng.randrange(1, 300), rng.randrange(1, 300)]
            rows.append([image_id, *map(str, box), "1"])
        if not boxes:
            rows.append([image_id, "", "", "", "", "0"])
    return rows


def test_damaged_label_tables_lose_nothing_without_a_word():
    header, rows = ["patientId", "x", "y", "width", "height", "Target"], label_rows()
    numbers_of, truth = {}, {}
    for number, row in enumerate(rows, start=1):
        numbers_of.setdefault(row[0], set()).add(number)
        truth.setdefault(row[0], set()).update([tuple(map(float, row[1:5]))] if row[5] == "1" else [])
    seen = Counter()
    for seed in range(SEEDS):
        table = fuzz(seed, header, rows)
        intact, contested, content = table.intact(), table.contested(), table.content()
        damaged = 0 not in intact or intact == {0}
        seen["damaged"] += damaged
        try:
            labels = read_labels(content, "t.csv")
        except HilumError as error:
            check_message(error)
            assert damaged, seed
            seen["refused"] += 1
            continue
        check_entries(labels.left_out)
        left_out = {entry.image_id for entry in labels.left_out}
        boxes = {image_id: {box[:4] for box in found} for image_id, found in labels.boxes.items()}
        for image_id, numbers in numbers_of.items():
            if image_id in contested:
                assert image_id in boxes.keys() | left_out or not numbers & intact or 0 not in intact, seed
            elif numbers <= intact and (0 in intact or image_id in boxes):
                assert boxes.get(image_id) == truth[image_id], seed
                seen["came through"] += 1
        for found in labels.boxes.values():
            assert all(math.isfinite(value) for box in found for value in box)
            assert all(width > 0 and height > 0 for _, _, width, height, _ in found)
        assert len(boxes.keys()) == len({image_id.lower() for image_id in boxes})
        one_line_a_row = not any("line breaks" in entry.reason for entry in labels.left_out)
        if 0 in intact and table.encoding != "utf-16" and one_line_a_row:
            # No row is passed over: it is a box that is used, an entry, or about an image that has a fate.
            rows_said = {entry.row for entry in labels.left_out}
            rows_said |= {box[4] for found in labels.boxes.values() for box in found}
            fates = {image_id.encode() for image_id in boxes.keys() | left_out if image_id}
            for row, line in enumerate(re.split(rb"\r\n|\r|\n", content), start=1):
                if row > 1 and line.strip(b' \t\0\x0b\x0c\x1c\x1d\x1e\x1f",;') and row not in rows_said:
                    assert any(image_id in line for image_id in fates), (seed, row)
                    seen["rows checked"] += 1
        seen.update(entry.what for entry in labels.left_out)
    assert seen["came through"] > 18 * SEEDS
    assert seen["refused"] < 0.85 * seen["damaged"]  # tables without their header or without any row of theirs
    assert min(seen[what] for what in ("row", "box", "image", "column", "note", "refused")) > SEEDS // 20
    assert seen["rows checked"] > 2 * SEEDS


def test_damaged_class_tables_lose_nothing_without_a_word():
    rows = [[image_id, CLASSES[number % 3]] for number, image_id in enumerate(image_ids(24))]
    seen = Counter()
    for seed in range(SEEDS):
        table = fuzz(seed, ["patientId", "class"], rows)
        intact, contested = table.intact(), table.contested()
        damaged = 0 not in intact or intact == {0}
        seen["damaged"] += damaged
        try:
            classes, left_out = read_classes(table.content(), "t.csv")
        except HilumError as error:
            check_message(error)
            assert damaged, seed
            seen["refused"] += 1
            continue
        check_entries(left_out)
        assert set(classes.values()) <= {*CLASSES, ""}
        for number, (image_id, kind) in enumerate(rows, start=1):
            if number in intact and (0 in intact or image_id in classes):
                reported = any(entry.image_id == image_id for entry in left_out)
                assert classes[image_id] == kind or (image_id in contested and classes[image_id]), seed
                assert classes[image_id] == kind or reported, seed
                seen["came through"] += 1
        seen.update(entry.what for entry in left_out)
    assert seen["came through"] > 18 * SEEDS
    assert seen["refused"] < 0.85 * seen["damaged"]  # tables without their header or without any row of theirs
    assert min(seen[what] for what in ("row", "column", "note", "refused")) > SEEDS // 20


@pytest.mark.parametrize("column", ["patient", "nih_patient"])
def test_damaged_patient_maps_are_right_or_refused(column):
    rows = [[image_id, str(number // 2)] for number, image_id in enumerate(image_ids(24))]
    seen = Counter()
    for seed in range(SEEDS):
        table = fuzz(seed, ["patientId", column], rows)
        intact = table.intact()
        try:
            owner = read_patients(table.content(), "t.csv")
        except HilumError as error:
            check_message(error)
            assert table.records != Fuzzed(random.Random(seed), ["patientId", column], rows).records, seed
            seen["refused"] += 1
            continue
        for number, (image_id, patient) in enumerate(rows, start=1):
            if number in intact and (0 in intact or image_id in owner):
                assert owner[image_id] == patient, seed
                seen["came through"] += 1
    assert seen["came through"] > 8 * SEEDS
    assert 0.1 * SEEDS < seen["refused"] < 0.7 * SEEDS
