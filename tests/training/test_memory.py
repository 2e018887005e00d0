"""Memory that a step frees is there for the next one."""

import platform
import resource

import pytest
import torch

from hilum.training.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it likes")
def test_the_maps_of_a_step_are_not_cleared_by_the_kernel_again():
    keep_freed_memory()
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        maps = [torch.ones(12 << 20) for _ in range(8)]  # 48 MB each, 98,304 pages in all
        del maps
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults[1:]) < 98_304 / 4  # one map may find no place, for what lies between them
