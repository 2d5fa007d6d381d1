"""How much memory a draw takes is known before it starts, and decides how many samples are drawn at a time."""

import dataclasses
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
import torch
from cases import write_tiny_voxel

from RelAPETLib import counted_memory, devices, host_memory, preprocessing
from RelAPETLib.errors import DeviceError, InputError, RelAPETWarning
from RelAPETLib.methods.base import DrawOptions
from RelAPETLib.methods.flows import Flow
from RelAPETLib.models import Model, load_model, trial
from RelAPETLib.synthesis import memory, options, sampling
from RelAPETLib.tracers import get_tracer
from RelAPETLib.volumes import voxels
from RelAPETLib.volumes.dicom import series


@pytest.fixture(scope="module")
def model(tiny_latent):
    return load_model(tiny_latent)


def plan(**how):
    facts = {"tracer": get_tracer("TAU"), "output": "suvr", "window": (0.0, 3.0), "reference_region": None}
    how = {"sampler": "dpmpp", "steps": 1, "samples": 4, "seed": 0, "clip": None} | how
    return options.Plan(label=2, space="t1w", **facts, **how)


def drawing(method, count):
    """What is counted, on real tensors."""
    own = DrawOptions(method.defaults.sampler, 2, method.defaults.clip)

    def draw():
        mri = torch.zeros(1, 2, 160, 180, 160)
        encoded = method.encode(mri)
        del mri
        method.draw(encoded, 2, count, own, lambda index, shape: torch.zeros(*shape))

    return draw


def test_tensors_without_values_count_as_those_with(model):
    """Of a model whose masks, regressions and decoder decide shapes by values."""
    own = DrawOptions("dpmpp", 2)
    for count in (1, 2):
        found = memory.counted_bytes(model.method, 2, count, own)
        assert found == pytest.approx(counted_memory.peak_bytes(drawing(model.method, count)), rel=0.05)
    assert memory.counted_bytes(model.method, 2, 4, own) > 1.2 * memory.counted_bytes(model.method, 2, 1, own)
    assert not any(tensor.is_meta for tensor in model.method.network.state_dict().values())


@pytest.mark.parametrize("shape", [(1, 2, 9, 10, 11), (2, 9, 10, 11)])
@pytest.mark.parametrize("ceiling", [False, True])
def test_pooled_shapes_are_those_with_values(shape, ceiling):
    """Also without a batch, dilated, and where a last window would begin in the padding."""
    found, pools = [], torch.nn.functional
    image = torch.zeros(shape)

    def pool(image):
        averaged = pools.avg_pool3d(image, (2, 3, 2), (3, 2, 4), 1, ceiling)
        return averaged.shape, pools.max_pool3d(image, 3, 4, 1, dilation=2, ceil_mode=ceiling).shape

    counted_memory.peak_bytes(lambda: found.append(pool(torch.empty(shape, device="meta"))))
    assert found == [pool(image)]


def test_an_error_in_how_shapes_are_worked_out_refuses_no_model(model, monkeypatch):
    own = counted_memory._SHAPES
    for fault in (lambda *given: given[0].shape[99], lambda *given: 1 // 0, lambda *given: torch.zeros(2).view(3)):
        monkeypatch.setattr(counted_memory, "_SHAPES", own | {torch.ops.aten.convolution.default: fault})
        trial.check_draws(model.method, 2, "a model")
        assert memory.counted_bytes(model.method, 2, 1, DrawOptions("dpmpp", 1)) is None


def test_a_block_is_counted_as_long_as_somebody_holds_it():
    def two_at_a_time():
        kept = torch.empty(1000, device="meta")
        for _ in range(3):
            kept = kept * 2
        return kept.view(10, 100)

    assert counted_memory.peak_bytes(two_at_a_time) == 2 * 4000
    with pytest.raises(RuntimeError):
        counted_memory.peak_bytes(lambda: float(torch.empty(3, device="meta").sum()))


def peak_memory(work):
    """Bytes by which this process grew at most meanwhile."""

    def line(name):
        return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

    devices.free_host_memory()
    Path("/proc/self/clear_refs").write_text("5")
    before = line("VmRSS")
    with torch.inference_mode(), devices.kept_memory():
        work()
    return line("VmHWM") - before


def expected_and_taken():
    """By number of samples: bytes that they are expected to take, and that this process took."""
    arguments = {"factor": 5, "channels": [64, 128], "num_res_blocks": 1, "attending_levels": 0, "norm_num_groups": 4,
                 "num_head_channels": 0, "clinical": False}  # fmt: skip
    flow = Flow.build({"arguments": arguments, "path": {"kind": "rectified_flow"}, "steps": 2, "samples": 2})
    flow.network.eval().requires_grad_(False)
    drawing(flow, 1)()
    found = {}
    for count in (1, 2):
        room = memory.find_room(flow, 2, count, DrawOptions(flow.defaults.sampler, 2, flow.defaults.clip), "cpu")
        assert room.batch == count
        found[count] = room.needed, peak_memory(drawing(flow, count))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak of a process")
def test_the_estimate_is_near_what_a_process_takes():
    """No less than it, and no more than four times it: a network wide enough to matter, one sample and two.

    In a process of its own: one that has done other tests has memory left, which counts as taken before.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(expected_and_taken).result()
    for expected, taken in found.values():
        assert expected / 4 < taken < expected, found


def test_fewer_samples_at_a_time_where_memory_is_short(model, free):
    counted = {n: memory.counted_bytes(model.method, 2, n, DrawOptions("dpmpp", 1)) for n in (1, 2)}
    need = {n: memory.SHARE["cpu"] * count + memory.BESIDE["cpu"] for n, count in counted.items()}
    mri, said = torch.zeros(1, 2, 160, 180, 160), []
    drawn = {}
    for batch in (2, 1):
        free["cpu"] = need[batch] + 1e6
        drawn[batch] = sampling.draw_samples(
            sampling.ConditionedModel(model, mri), plan(samples=2), progress=lambda f, words: said.append(words)
        )
        assert drawn[batch].batch == batch and drawn[batch].needed == need[batch]
        words = "2 samples at a time need" if batch == 2 else "one sample needs"
        assert f"{words} about {need[batch] / 1e9:.1f} GB" in said[0]
        said.clear()
    assert abs(drawn[2].mean - drawn[1].mean).max() < 2e-5


def test_one_sample_that_hardly_fits_is_tried_and_one_that_cannot_is_refused(model, free):
    conditioned = sampling.ConditionedModel(model, torch.zeros(1, 2, 160, 180, 160))
    counted = memory.counted_bytes(model.method, 2, 1, DrawOptions("dpmpp", 1))
    free["cpu"] = 0.9 * counted
    with pytest.warns(RelAPETWarning, match="one sample needs about .* are free on cpu: it may run out"):
        batch, _, _ = conditioned.find_room(plan(), 4)
    assert batch == 1
    free["cpu"] = 0.1 * counted
    with pytest.raises(DeviceError, match="0.0 GB are free on cpu; close other programs, or choose a model of latents"):
        conditioned.find_room(plan(), 4)


@pytest.fixture
def on_gpu(model, monkeypatch):
    """The model as if it were on a GPU; ``where`` is the device that its network was moved to last."""
    shared, where = dataclasses.replace(model, device="cuda:0"), ["cuda:0"]

    def to(self, device):
        where.append(device)
        return dataclasses.replace(self, device=device)

    monkeypatch.setattr(Model, "to", to)
    monkeypatch.setattr(Model, "brought_back", lambda self: to(self, self.device))
    return shared, where


def test_a_model_that_a_full_gpu_handed_over_is_brought_back_for_the_next_person(on_gpu, free):
    (shared, where), mri = on_gpu, torch.zeros(1, 2, 160, 180, 160)
    free.update({"cpu": 64e9, "cuda:0": 1e6})
    for _ in range(2):
        conditioned = sampling.ConditionedModel(shared, mri)
        assert (conditioned.model.device, where[-1]) == ("cuda:0", "cuda:0")
        with pytest.warns(RelAPETWarning, match="going on on the CPU"):
            conditioned.find_room(plan(), 4)
        assert (conditioned.model.device, where[-1]) == ("cpu", "cpu")


def test_a_gpu_that_is_full_by_now_leaves_it_to_the_cpu_and_asks(on_gpu, free, monkeypatch):
    (shared, where), asked = on_gpu, []
    free["cpu"] = 64e9

    def full(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Model, "brought_back", full)
    monkeypatch.setattr(sampling, "check_duration", lambda model, *how: asked.append((model.device, how[2])))
    with pytest.warns(RelAPETWarning, match="cuda:0 has no room for model"):
        conditioned = sampling.ConditionedModel(shared, torch.zeros(1, 2, 160, 180, 160))
    assert (conditioned.model.device, where[-1]) == ("cpu", "cpu")
    for later in (5, 0):
        (drawn,) = sampling.draw_tracers(conditioned, [plan(samples=1)], later=later)
        assert drawn.device == "cpu"
    assert asked == [("cpu", 6)], "consent is asked once, for all that is to come"


def test_a_gpu_without_room_for_one_sample_is_left_before_it_is_tried(on_gpu, free):
    on_gpu, _ = on_gpu
    conditioned = sampling.ConditionedModel(on_gpu, torch.zeros(1, 2, 160, 180, 160))
    free.update({"cpu": 64e9, "cuda:0": 1e6})
    with pytest.warns(RelAPETWarning, match="0.0 GB are free on cuda:0: going on on the CPU"):
        batch, needed, line = conditioned.find_room(plan(), 4)
    assert conditioned.model.device == "cpu" and batch == 4 and "64.0 GB are free on cpu" in line and needed > 0
    del free["cpu"]
    assert conditioned.find_room(plan(), 3)[:2] == (3, None)


def test_a_method_that_asks_for_values_is_not_known_beforehand(model, monkeypatch):
    monkeypatch.setattr(type(model.method), "encode", lambda self, mri, clinical=None: mri.sum().item())
    assert memory.counted_bytes(model.method, 2, 1, DrawOptions("dpmpp", 2)) is None


def test_a_voxel_model_is_counted_without_its_memory(tmp_path):
    """Its one sample is far above what the MRI takes, and each further one adds about the same."""
    method = load_model(write_tiny_voxel(tmp_path / "voxel")).method
    one, two = (memory.counted_bytes(method, 2, n, DrawOptions("dpmpp", 2)) for n in (1, 2))
    assert 0.3e9 < one < 3e9 and 1.7 < two / one < 2.1


def test_control_groups_limit_what_is_free(tmp_path):
    groups = ((str(tmp_path), "memory.max", "memory.current"), ("/nowhere", "limit", "used"))
    own, inner = tmp_path / "cgroup", tmp_path / "job" / "step"
    own.write_text("0::/job/step\n")
    inner.mkdir(parents=True)

    def limit(folder, most, used, cached):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")

    limit(inner, "max", 5, 0)
    assert host_memory.control_group_memory(str(own), groups) == float("inf")
    limit(inner.parent, 1000, 900, 300)  # of the job, for all its steps
    assert host_memory.control_group_memory(str(own), groups) == 400
    limit(inner, 200, 150, 0)
    assert host_memory.control_group_memory(str(own), groups) == 50
    assert host_memory.control_group_memory(str(tmp_path / "none"), groups) == float("inf")
    (inner.parent / "memory.stat").write_text("anon 200\ninactive_file 300\nactive_file 350\n")
    assert host_memory.control_group_memory(str(own), groups) == 50
    limit(inner, "max", 5, 0)
    assert host_memory.control_group_memory(str(own), groups) == 400
    assert host_memory.control_group_memory(str(own), groups, at_most=True) == 800
    assert 0 < devices.free_memory("cpu") <= host_memory.most_memory()
    assert devices.free_memory("mps") is None


def test_control_groups_of_version_1_count_the_files_of_those_in_them(tmp_path):
    groups = (("/nowhere", "max", "current"), (str(tmp_path), "memory.limit_in_bytes", "memory.usage_in_bytes"))
    own, job = tmp_path / "cgroup", tmp_path / "slurm" / "job"
    own.write_bytes(b"12:cpuset:/\n3:hugetlb,memory:/slurm/job\n2:pids:/\xff\n")
    job.mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text("1000\n")
    (job / "memory.usage_in_bytes").write_text("900\n")
    (job / "memory.stat").write_text("rss 0\ninactive_file 0\ntotal_rss 250\ntotal_inactive_file 600\n")
    assert host_memory.control_group_memory(str(own), groups) == 700
    assert host_memory.control_group_memory(str(own), groups, at_most=True) == 750


def test_swap_that_a_group_may_not_have_is_not_counted(tmp_path, monkeypatch):
    """As containers and Slurm set it: the machine swaps, this process may not."""
    own = tmp_path / "cgroup"
    for number, (line, files, left) in enumerate([
        ("0::/job", {"memory.swap.max": "0", "memory.swap.current": "0"}, 0),
        ("0::/job", {"memory.swap.max": "max", "memory.swap.current": "7"}, float("inf")),
        ("0::/job", {"memory.swap.max": "100", "memory.swap.current": "70"}, 30),
        ("3:memory:/job", {"memory.memsw.limit_in_bytes": "1500", "memory.limit_in_bytes": "1000"}, 500),
        ("3:memory:/job", {"memory.limit_in_bytes": "1000"}, float("inf")),
    ]):  # fmt: skip
        job = tmp_path / str(number) / "job"
        job.mkdir(parents=True)
        own.write_text(f"{line}\n")
        for name, content in files.items():
            (job / name).write_text(f"{content}\n")
        groups = tuple((str(job.parent), *names[1:]) for names in host_memory.GROUPS)
        assert host_memory.control_group_swap(str(own), groups) == left
    monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(free=1e15))
    monkeypatch.setattr(host_memory, "control_group_swap", lambda: 0)
    assert host_memory.most_memory() < 1e15


@pytest.mark.parametrize("reading", ["preprocessing", "voxels", "series"])
def test_limits_of_containers_and_slurm_count_before_scans_are_read_and_registered(monkeypatch, reading):
    monkeypatch.setattr(host_memory, "control_group_memory", lambda *a, **k: 1e4)
    with pytest.raises(InputError, match="0.0 GB are free"):
        if reading == "preprocessing":
            preprocessing.check_memory([sitk.Image(8, 8, 8, sitk.sitkFloat32)])
        elif reading == "voxels":
            voxels._check_memory(20_000, 0, "T1w")
        else:
            layout = SimpleNamespace(size=4, syntax=next(iter(series.NATIVE)))
            frame = SimpleNamespace(path=Path("x.dcm"), format=layout)
            series._check_size([frame], (64, 64, 64), Path("folder"))


def test_where_swap_grows_as_it_is_needed_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(host_memory.sys, "platform", "darwin")
    assert host_memory.most_memory() == float("inf")


FAILURES = {
    "an operation that this torch lacks": ("RelAPETLib.counted_memory.peak_bytes", ImportError("torch._C")),
    "an assertion of torch's": ("RelAPETLib.counted_memory.peak_bytes", AssertionError()),
    "a driver": ("RelAPETLib.synthesis.memory.free_memory", RuntimeError("driver shutting down")),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_estimate_that_fails_ends_no_synthesis(model, monkeypatch, failure):
    name, error = FAILURES[failure]

    def fail(*_):
        raise error

    monkeypatch.setattr(name, fail)
    conditioned = sampling.ConditionedModel(model, torch.zeros(1, 2, 160, 180, 160))
    assert conditioned.find_room(plan(), 3)[:2] == (3, None)


def test_a_system_that_does_not_tell_its_swap_is_tried(model, free, monkeypatch):
    def fail():
        raise OSError("no /proc/vmstat")

    monkeypatch.setattr(memory, "most_memory", fail)
    free["cpu"] = 1.0
    with pytest.warns(RelAPETWarning, match="it may run out"):
        assert sampling.ConditionedModel(model, torch.zeros(1, 2, 160, 180, 160)).find_room(plan(), 2)[0] == 1


def test_half_the_tensors_are_refused_later(model, free):
    counted = memory.counted_bytes(model.method, 2, 1, DrawOptions("dpmpp", 1))
    free["cpu"] = 0.45 * counted
    for precision, batch in (("fp32", 0), ("bf16", 1)):
        room = memory.find_room(model.method, 2, 1, DrawOptions("dpmpp", 1), "cpu", precision=precision)
        assert room.batch == batch


def test_a_slow_model_without_room_is_refused_before_a_step_is_timed(tmp_path, free):
    slow = load_model(write_tiny_voxel(tmp_path / "voxel"))
    free["cpu"] = 1e6
    with pytest.raises(DeviceError, match="are free on cpu; close other programs"):
        sampling.check_duration(slow, 2, 1, 1, yes=True)
