"""Weights of others are found in a file wherever training scripts put them, or the file is refused in one line."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hilum.errors import HilumError
from hilum.training.tensors import read_tensors

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -1.0])}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "keys", [(), ("model",), ("state_dict",), ("model_state_dict",), ("model", "state_dict"), ("state_dict", "model")]
)
def test_tensors_are_found_wherever_training_scripts_put_them(keys, prefix, tmp_path):
    stored = {prefix + name: tensor for name, tensor in STATE.items()}
    for key in reversed(keys):
        stored = {key: stored, "epoch": 3}
    torch.save(stored, tmp_path / "w.pth")
    found = read_tensors(tmp_path / "w.pth", "model.weights", "none, hub")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in found.items())


def test_a_file_of_safetensors_without_any_is_named(tmp_path):
    save_file({}, tmp_path / "none.safetensors")
    with pytest.raises(HilumError, match=r"none\.safetensors: holds no tensors with names"):
        read_tensors(tmp_path / "none.safetensors", "model.weights", "none, hub")


def test_files_that_hold_no_tensors_are_named(tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Path))
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    for name, message in {
        "damaged.safetensors": "cannot be read as tensors",
        "code.pth": "cannot be read as tensors",
        "numbers.pth": "holds no tensors with names",
        "tensor.pth": "holds no tensors with names",
        "hubb": "no such file; expected none, hub, or",
    }.items():
        with pytest.raises(HilumError, match=message) as caught:
            read_tensors(tmp_path / name, "model.weights", "none, hub")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"model.weights: {tmp_path / name}: ")


def test_the_key_and_what_it_takes_are_the_callers(tmp_path):
    with pytest.raises(HilumError, match=r"^weights: .*gone: no such file; expected hub, or the path of a file"):
        read_tensors(tmp_path / "gone", "weights", "hub")


def test_what_others_allowed_torch_to_call_is_not_called(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with torch.serialization.safe_globals([torch.nn.Linear]):
        with pytest.raises(HilumError, match="cannot be read as tensors"):
            read_tensors(tmp_path / "module.pth", "model.weights", "none, hub")
        assert torch.nn.Linear in torch.serialization.get_safe_globals()
