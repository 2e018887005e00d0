"""Show `hilum pacs` at work beside an Orthanc: studies come into the archive, reports and boxes come back to it.

    python speed/demo_pacs.py RUN IMAGES OUT           # what `make demo-pacs` does
    python speed/demo_pacs.py RUN IMAGES OUT --stay    # then leaves the archive open, for a browser

IMAGES are generated radiographs, of `hilum sample`. Each is sent as a study of its own to the archive, which forwards
all that it stores to hilum, and stores what hilum sends back.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pydicom
from pacs import DX
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract"))
from orthanc import CANNOT, Orthanc, free_port

FORWARD = "function OnStoredInstance(id, tags, metadata)\n  SendToModality(id, 'hilum')\nend\n"


def main() -> None:
    """Start both, send, wait, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path, help="folder to write, in the place of an earlier one")
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--stay", action="store_true", help="leave the archive open")
    options = parser.parse_args()
    if CANNOT:
        raise SystemExit(CANNOT)
    shutil.rmtree(options.out, ignore_errors=True)
    (options.out / "studies").mkdir(parents=True)
    files = studies(options.images, options.out / "studies", options.studies)
    script = options.out / "forward.lua"
    script.write_text(FORWARD)
    archive = Orthanc(options.out / "orthanc", LuaScripts=[str(script.resolve())])
    log = options.out / "log"
    service = None
    try:
        service = start(options.run, options.out, archive, log)
        begun = time.perf_counter()
        for file in files:
            archive.post("/instances", file.read_bytes())
        archive.wait_for("SR", len(files), 600)
        archive.wait_for("PR", len(files), 60)
        print(f"{len(files)} studies in, {len(archive.instances('SR'))} reports back, and", end=" ")
        print(f"{len(archive.instances('PR'))} presentation states, after {time.perf_counter() - begun:.1f} s")
        tell(archive)
        print(f"the log is {log}; {log.read_text().count(' not_looked_at ')} results came by again and got no answer")
        if options.stay:
            print(f"the archive is http://127.0.0.1:{archive.http_port}/app/explorer.html; Ctrl+C ends it", flush=True)
            service.wait()
    except KeyboardInterrupt:
        pass
    finally:
        if service:
            service.terminate()
            service.wait()
        archive.kill()


def studies(images: Path, out: Path, count: int) -> list[Path]:
    """So many of the images, each as a study of its own."""
    for image in sorted(images.glob("*.dcm"))[:count]:
        dataset = pydicom.dcmread(image)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DX
        dataset.Modality = "DX"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.save_as(out / image.name)
    return sorted(out.iterdir())


def start(run: Path, out: Path, archive: Orthanc, log: Path) -> subprocess.Popen[bytes]:
    """Start the service, and tell the archive where it is."""
    port = free_port()
    command = [sys.executable, "-m", "hilum", "pacs", run, "--listen", port, "--spool", out / "spool", "--quiet", 1]
    command += ["--send", f"{archive.title}@127.0.0.1:{archive.port}", "--allow", archive.title]
    with log.open("w") as file:
        service = subprocess.Popen([*map(str, command)], stderr=file, env=os.environ)
    while "listening" not in log.read_text():
        time.sleep(0.1)
        if service.poll() is not None:
            raise SystemExit(log.read_text())
    archive.put("/modalities/hilum", {"AET": "HILUM", "Host": "127.0.0.1", "Port": port})
    return service


def tell(archive: Orthanc) -> None:
    """What the likeliest reports say."""
    found = []
    for each in archive.instances("SR"):
        report = pydicom.dcmread(io.BytesIO(archive.file(each["ID"])))
        measured = [element.value[0] for element in report.iterall() if element.keyword == "MeasuredValueSequence"]
        in_percent = [each for each in measured if each.MeasurementUnitsCodeSequence[0].CodeValue == "%"]
        percents = [float(each.NumericValue) for each in in_percent]
        found.append((max(percents, default=0.0), len(percents) - 1, report.StudyInstanceUID))
    for percent, boxes, uid in sorted(found, reverse=True)[:5]:
        print(f"  {percent:5.1f} %, {boxes} boxes: study {uid}")


if __name__ == "__main__":
    main()
