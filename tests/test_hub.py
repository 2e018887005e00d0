"""Runs of the Hugging Face hub, through its own client, against a stand-in of the hub on this machine."""

import base64
import hashlib
import json
import logging
import re
import shutil
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from commandline import complaint, hilum
from huggingface_hub import constants

import hilum as package
from hilum.errors import HilumError
from hilum.hub import fetched, files_to_send, is_address, most_bytes, push
from hilum.run import run_digest

# The client's own way to upload.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRET = "hf_secretsecretsecret"  # noqa: S105 - of nobody
NEEDED = ["config.yaml", "environment.json", "operating_point.json", "weights.safetensors"]


def lfs(name):
    return name.endswith((".safetensors", ".bin", ".pkl"))


@dataclass
class Hub:
    """What lies in its one repository, what it lies about, and what was asked of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)  # in the place of what it says it has
    sizes: dict[str, int] = field(default_factory=dict)
    private: bool | None = None
    uploads: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def about(self):
        return {
            "id": "owner/name",
            "sha": COMMIT,
            "private": self.private,
            "siblings": list(map(self._about, self.files)),
        }

    def _about(self, name):
        content = self.files[name]
        size = self.sizes.get(name, len(content))
        pointer = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - as git does
        large = {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 1}}
        return {"rfilename": name, "size": size, "blobId": pointer} | (large if lfs(name) else {})

    def fetched_names(self):
        return {path.split(f"/resolve/{COMMIT}/")[1] for path in self.asked if "/resolve/" in path}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def answer(self, content=b"", status=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self):
        hub, path = self.server.hub, self.path.split("?")[0]
        hub.asked.append(path)
        if path.startswith("/api/models/owner/name"):
            revision = path.partition("/revision/")[2] or "main"
            known = hub.private is not None and revision in {"main", COMMIT}
            return self.answer(hub.about()) if known else self.answer(b"", 404, X_Error_Code="RepoNotFound")
        name = path.partition(f"/owner/name/resolve/{COMMIT}/")[2]
        content = hub.served.get(name, hub.files.get(name))
        if content is None:
            return self.answer(b"", 404, X_Error_Code="EntryNotFound")
        etag = hashlib.sha256(content).hexdigest()
        return self.answer(content, X_Repo_Commit=COMMIT, ETag=f'"{etag}"', X_Linked_Size=len(content))

    do_HEAD = do_GET  # noqa: N815 - as the server calls it

    def do_POST(self):
        hub, url = self.server.hub, f"http://{self.headers['Host']}"
        hub.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            there = hub.private is not None
            hub.private = hub.private if there else json.loads(body)["visibility"] == "private"
            return self.answer({"url": f"{url}/owner/name"}, 409 if there else 200)
        if "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "lfs" if lfs(n) else "regular", "shouldIgnore": False} for n in names]
            return self.answer({"files": modes})
        if self.path.endswith("/objects/batch"):
            objects = json.loads(body)["objects"]
            ways = [o | {"actions": {"upload": {"href": f"{url}/put/{o['oid']}"}}} for o in objects]
            return self.answer({"transfer": "basic", "objects": ways})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.files[value["path"]] = hub.uploads[value["oid"]]
                elif line["key"] == "deletedFile":
                    del hub.files[value["path"]]
            return self.answer({"commitOid": COMMIT, "commitUrl": f"{url}/owner/name/commit/{COMMIT}", "success": True})
        return self.answer({})  # the check of a card's front matter

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.hub.uploads[self.path.removeprefix("/put/")] = content
        self.answer()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    yield server.hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tiny_run, tmp_path):
    """A run with what trainings leave beside it."""
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    (folder / "best.pt").write_bytes(b"\x80\x04pickle")
    (folder / "notes.txt").write_text("of Mrs Example")
    return folder


@pytest.fixture
def on_hub(hub, run):
    hub.private = False
    hub.files = {name: (run / name).read_bytes() for name in [*NEEDED, "best.pt", "notes.txt"]}
    return hub


def test_a_pinned_run_finds_what_the_folder_finds_and_only_files_of_the_list_are_fetched(on_hub, run, caplog):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    (there,) = package.load(f"hf://owner/name@{COMMIT}").predict(picture, confidence=0.0)
    (here,) = package.load(run).predict(picture, confidence=0.0)
    assert there.image_probability == here.image_probability
    assert np.array_equal(there.detections.xyxy, here.detections.xyxy)
    assert on_hub.fetched_names() == set(NEEDED)


@pytest.mark.parametrize("address", ["hf://owner/name@main", "hf://owner/name"])
def test_what_may_change_is_told_with_the_commit_to_pin(on_hub, address, monkeypatch):
    told = []
    monkeypatch.setattr("hilum.hub.log", logging.getLogger("test"))
    monkeypatch.setattr(logging.getLogger("test"), "warning", told.append)
    fetched(address)
    assert len(told) == 1
    assert f"this one is hf://owner/name@{COMMIT}" in told[0]
    fetched(f"hf://owner/name@{COMMIT}")
    assert len(told) == 1


@pytest.mark.parametrize("name", ["weights.safetensors", "config.yaml"])
def test_other_bytes_than_the_hub_says_are_refused_and_fetched_anew(on_hub, name, tmp_path):
    right = on_hub.files[name]
    on_hub.served[name] = right[:-1] + b"!"
    for _ in range(2):
        with pytest.raises(HilumError, match=f"{name}: is not what the hub says"):
            fetched(f"hf://owner/name@{COMMIT}")
    del on_hub.served[name]
    assert (fetched(f"hf://owner/name@{COMMIT}") / name).read_bytes() == right


def test_too_large_a_file_is_refused_before_any_is_fetched(on_hub):
    on_hub.sizes["config.yaml"] = (1 << 20) + 1
    with pytest.raises(HilumError, match=r"config\.yaml: 1048577 bytes; at most 1048576"):
        fetched(f"hf://owner/name@{COMMIT}")
    assert not on_hub.fetched_names()


def test_a_run_that_lacks_a_file_is_refused_before_any_is_fetched(on_hub):
    del on_hub.files["weights.safetensors"]
    with pytest.raises(HilumError, match=r"weights\.safetensors missing"):
        fetched(f"hf://owner/name@{COMMIT}")
    assert not on_hub.fetched_names()


@pytest.mark.parametrize(
    "name",
    ["../config.yaml", "/config.yaml", "members/../../config.yaml", "members//config.yaml", "members/a/b/config.yaml",
     "members/a/..\\config.yaml", "best.pt", "members/a/x.pkl", "code.py", "config.yaml/x", "CONFIG.YAML", ""],
)  # fmt: skip
def test_a_name_that_is_not_on_the_list_is_never_fetched(on_hub, name):
    assert most_bytes(name) == 0
    on_hub.files[name] = b"seed: 1"
    fetched(f"hf://owner/name@{COMMIT}")
    assert on_hub.fetched_names() == set(NEEDED)


def test_members_of_a_composed_run_are_on_the_list():
    assert most_bytes("members/unet-0/weights.safetensors") == 8 << 30
    assert most_bytes("members/a/members/b/config.yaml") == 1 << 20


def test_a_card_of_another_run_is_refused(on_hub):
    on_hub.files["README.md"] = b"---\nhilum_run: 0123456789abcdef\n---\n"
    with pytest.raises(HilumError, match=r"README\.md is of run 0123456789abcdef"):
        fetched(f"hf://owner/name@{COMMIT}")


@pytest.mark.parametrize(
    "address", ["hf://owner", "hf://owner/name@", "hf://a/b/c", "hf://owner/na me@x", "hf://../x@y"]
)
def test_what_is_no_address_is_refused(hub, address):
    assert is_address(address)
    with pytest.raises(HilumError, match="hf:"):
        fetched(address)


def test_a_repository_that_is_not_there_and_a_hub_that_is_not_there_are_one_line(hub, monkeypatch):
    with pytest.raises(HilumError) as error:
        fetched(f"hf://owner/name@{COMMIT}")
    assert len(error.value.lines) == 1
    assert SECRET not in str(error.value)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HilumError, match="hf://owner/name@"):
        fetched(f"hf://owner/name@{COMMIT}")


def test_without_the_hubs_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HilumError, match=r'pip install "hilum\[hub\]"'):
        fetched(f"hf://owner/name@{COMMIT}")


def test_commands_take_an_address_where_they_read_a_run(on_hub, dataset, tmp_path):
    hilum("predict", f"hf://owner/name@{COMMIT}", dataset, tmp_path / "found")
    assert (tmp_path / "found" / "predictions.json").is_file()
    found = package.evaluate(f"hf://owner/name@{COMMIT}", dataset)
    assert found.entries[-1].least_confidence == package.load(f"hf://owner/name@{COMMIT}").confidence
    assert "takes a folder of your own" in complaint("tune", f"hf://owner/name@{COMMIT}", dataset)


def test_push_sends_the_list_and_nothing_else_and_what_was_sent_loads(hub, run, tmp_path):
    hub.files, before = {"members/old/config.yaml": b"", ".gitattributes": b""}, run_digest(run)
    done = hilum("push", run, "owner/name", code=1)
    assert "nothing was sent" in done.stderr
    assert not hub.asked
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == {*NEEDED, "README.md"}
    done = hilum("push", run, "owner/name", "--yes")
    assert hub.private is True
    assert set(hub.files) == {*NEEDED, "README.md", ".gitattributes"}
    assert done.stdout.splitlines()[-1] == f"hf://owner/name@{COMMIT}"
    assert SECRET not in done.stdout + done.stderr
    assert run_digest(fetched(f"hf://owner/name@{COMMIT}")) == before
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_shall_be_private_is_not_sent_to_a_public_repository(hub, run):
    hub.private = False
    with pytest.raises(HilumError, match="is there and public"):
        push(run, "owner/name", public=False)
    assert not hub.files
    push(run, "owner/name", public=True)
    assert set(NEEDED) <= set(hub.files)


@pytest.mark.parametrize("repository", ["name", "owner/name@main", "a/b/c", "../name/", ""])
def test_a_repository_that_no_address_names_is_refused_before_it_is_made(hub, run, repository):
    assert "expected OWNER/NAME" in complaint("push", run, repository, "--yes")
    assert not hub.asked
    assert not (run / "README.md").exists()


def test_a_link_an_old_card_and_an_exported_run_are_not_sent(run, tmp_path):
    (run / "README.md").write_text("---\nhilum_run: 0123456789abcdef\n---\n")
    with pytest.raises(HilumError, match="is of run 0123456789abcdef"):
        files_to_send(run)
    hilum("card", run, "--overwrite")  # as the message says
    assert "README.md" in files_to_send(run)
    (run / "README.md").unlink()
    (run / "README.md").mkdir()
    assert "README.md: Is a directory" in complaint("push", run, "owner/name")
    (run / "README.md").rmdir()
    (tmp_path / "passwords").write_text("secret")
    (run / "README.md").symlink_to(tmp_path / "passwords")
    with pytest.raises(HilumError, match="is a link"):
        files_to_send(run)
    (run / "README.md").unlink()
    (run / "weights.safetensors").rename(run / "model.onnx")
    with pytest.raises(HilumError, match="was exported"):
        files_to_send(run)


def test_a_place_of_this_machine_in_a_config_is_told_before_it_is_sent(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub("weights: none", "weights: /home/somebody/weights.safetensors", text))
    assert "weights: /home" in (run / "config.yaml").read_text()
    assert (
        "names a place of this machine, /home/somebody/weights.safetensors" in hilum("push", run, "a/b", code=1).stderr
    )
