"""Drawing on Ray: the rows do not depend on the cluster, files are complete, and errors are one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from runtime.cli import sample
from runtime.errors import EngineError, InputError
from runtime.job import write_record
from runtime.labels import InTurn
from runtime.sampler import Sampler

ray = pytest.importorskip("ray", reason="Ray is not installed here")

from ray.data.expressions import col  # noqa: E402

from runtime.ray import cluster, folder, samples  # noqa: E402, as these need it
from runtime.ray.ranges import Ranges  # noqa: E402
from runtime.ray.worker import cpus_given  # noqa: E402
from tests.runtime.children import child  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # Ray uses deprecated functions of other packages
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves files and sockets to the garbage collector
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),  # pytest's report of the same warnings
]
PROGRAM = [sys.executable, "-c", "from runtime.cli import sample; sample()"]


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[None]:
    """One Ray instance with two CPUs for all tests, because it takes seconds to start."""
    with cluster.connected():
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield


def run(bundle: Path, *arguments: object) -> Result:
    return CliRunner().invoke(sample, [str(bundle), "--engine", "ray", *map(str, arguments)])


def ok(bundle: Path, *arguments: object) -> Result:
    result = run(bundle, *arguments)
    assert result.exit_code == 0, result.output
    return result


def rows(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Indices and images of all files, in the order of their names."""
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    pixels = b"".join(image for image in table["image"].to_pylist())
    return table["index"].to_numpy(), np.frombuffer(pixels, np.uint8).reshape(-1, 12, 12, 1)


def stream(bundle: Path, num: int, **options: int) -> np.ndarray:
    return np.concatenate(list(Sampler(bundle, threads=1).stream(num, **options)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


@pytest.mark.parametrize(("threads", "batch_size"), [(1, 300), (2, 1000), (1, None)])
def test_a_dataset_has_the_rows_of_vae_sample_whatever_the_workers_and_blocks(
    bundle: Path, threads: int, batch_size: int | None
) -> None:
    dataset = samples(bundle, 2345, 3, first=77, threads=threads, batch_size=batch_size)
    batches = list(dataset.iter_batches(batch_size=None, batch_format="numpy"))
    index = np.concatenate([batch["index"] for batch in batches])
    image = np.concatenate([batch["image"] for batch in batches])
    assert image.dtype == np.uint8
    order = index.argsort()
    assert (index[order] == np.arange(77, 77 + 2345)).all()
    assert (image[order] == stream(bundle, 2345, seed=3, first=77)).all()


@pytest.mark.parametrize("label", [None, "south west", InTurn(("3", 0))])
def test_rows_of_a_mixture_have_their_class(mixture_bundle: Path, label: str | InTurn | None) -> None:
    batches = list(
        samples(mixture_bundle, 250, 3, first=77, label=label, batch_size=100).iter_batches(batch_format="numpy")
    )
    index, image, drawn = (np.concatenate([batch[name] for batch in batches]) for name in ("index", "image", "label"))
    order = index.argsort()
    sampler = Sampler(mixture_bundle, threads=1)
    assert (index[order] == np.arange(77, 327)).all()
    assert (drawn[order] == sampler.labels(np.arange(77, 327), seed=3, label=label)).all()
    assert (image[order] == sampler.sample(250, seed=3, first=77, label=label)).all()


def test_a_dataset_of_a_foreign_model_with_spatial_latents(spatial_bundle: Path) -> None:
    rows = samples(spatial_bundle, 50, 3, batch_size=20).take_all()
    images = np.stack([row["image"] for row in sorted(rows, key=lambda row: row["index"])])
    assert (images == Sampler(spatial_bundle).sample(50, seed=3)).all()


def test_a_dataset_can_be_filtered_without_writing_files(bundle: Path) -> None:
    kept = samples(bundle, 400, batch_size=100).filter(expr=col("index") >= 390)
    assert sorted(row["index"] for row in kept.take_all()) == list(range(390, 400))


def test_a_folder_has_the_rows_of_vae_sample_in_files_named_by_their_indices(bundle: Path, tmp_path: Path) -> None:
    arguments = ["--num", 1300, "--first", 450, "--seed", 4, "--temperature", 0.7]
    assert "1,300 images of seed 4" in ok(bundle, *arguments, "--batch-size", 500, "--output", tmp_path / "rows").output
    assert (
        CliRunner().invoke(sample, [str(bundle), *map(str, arguments), "--output", f"{tmp_path}/a.npy"]).exit_code == 0
    )
    index, image = rows(tmp_path / "rows")
    assert (index == np.arange(450, 1750)).all()
    assert (image == np.load(tmp_path / "a.npy").reshape(image.shape)).all()
    spans = [(450, 499), (500, 999), (1000, 1499), (1500, 1749)]
    assert names(tmp_path / "rows") == [f"{low:019d}-{high:019d}.parquet" for low, high in spans] + ["_vae-sample.json"]


def test_every_file_records_its_job(bundle: Path, tmp_path: Path) -> None:
    ok(bundle, "--num", 200, "--seed", 9, "--batch-size", 128, "--output", tmp_path / "rows")
    paths = list((tmp_path / "rows").glob("*.parquet"))
    assert len(paths) == 2
    for path in paths:
        schema = pq.read_schema(path)
        job = json.loads(schema.metadata[b"vae_toolchain"])
        assert job["manifest_sha256"] == hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
        assert (job["noise_version"], job["seed"], job["num"], job["image_shape"]) == (1, 9, 200, [12, 12, 1])
        assert [(field.name, str(field.type)) for field in schema] == [
            ("index", "int64"),
            ("image", "fixed_size_binary[144]"),
        ]


def test_ray_reads_the_files_back_as_images(bundle: Path, tmp_path: Path) -> None:
    ok(bundle, "--num", 50, "--output", tmp_path / "rows")
    dataset = ray.data.read_parquet(
        str(tmp_path / "rows"), tensor_column_schema={"image": (np.dtype(np.uint8), (12, 12, 1))}
    )
    assert (dataset.take_batch(50, batch_format="numpy")["image"] == stream(bundle, 50)).all()


def test_shards_fill_one_folder_together(bundle: Path, tmp_path: Path) -> None:
    for part in (1, 0, 2):
        ok(bundle, "--num", 1000, "--shard", f"{part}/3", "--batch-size", 256, "--output", tmp_path / "rows")
    index, image = rows(tmp_path / "rows")
    assert (index == np.arange(1000)).all()
    assert (image == stream(bundle, 1000)).all()


def test_resume_writes_only_what_is_missing(bundle: Path, tmp_path: Path) -> None:
    arguments = ["--num", 1000, "--batch-size", 256, "--output", tmp_path / "rows"]
    ok(bundle, *arguments)
    before = content(tmp_path / "rows")
    first, second, *_ = sorted((tmp_path / "rows").glob("*.parquet"))
    second.unlink()
    (tmp_path / "rows" / ".0-1000").mkdir()
    (tmp_path / "rows" / ".0-1000" / "half a file.parquet").write_bytes(b"PAR1")  # as kill -9 leaves it
    written = first.stat().st_mtime_ns
    ok(bundle, *arguments, "--resume")
    assert content(tmp_path / "rows") == before
    assert first.stat().st_mtime_ns == written
    assert "all present already" in ok(bundle, *arguments, "--resume").output


def test_a_folder_with_another_jobs_rows_is_refused_and_left_alone(bundle: Path, tmp_path: Path) -> None:
    ok(bundle, "--num", 300, "--output", tmp_path / "rows")
    before = content(tmp_path / "rows")
    others = "--seed 9", "--temperature 0.5", "--num 301", "--first 1", "--shard 0/2", "--batch-size 100"
    for option in (*others, *(f"{option} --resume" for option in others)):
        result = run(bundle, "--num", 300, "--output", tmp_path / "rows", *option.split())
        assert result.exit_code == 1, option
        assert "was begun with" in result.output
    assert content(tmp_path / "rows") == before


def test_a_folder_that_a_worker_cannot_write_gives_one_sentence_and_keeps_its_files(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows" / f"{256:019d}-{511:019d}.parquet").mkdir(parents=True)  # in the way of the second file
    monkeypatch.setattr(folder, "claim", lambda job, path: write_record(job, path / "_vae-sample.json"))
    result = run(bundle, "--num", 512, "--batch-size", 256, "--output", tmp_path / "rows")
    assert result.exit_code == 1
    assert "--resume adds the others" in result.output
    assert len(result.output.splitlines()) == 1
    assert not list((tmp_path / "rows").glob(".*"))


def _busy_workers() -> list[int]:
    """Process ids of workers of this test's Ray that are executing a task."""
    found, parents = [], {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (path / "cmdline").read_text(), (path / "status").read_text()
        except OSError:  # ended meanwhile
            continue
        parents[int(path.name)] = int(status.split("PPid:")[1].split()[0])
        if command.startswith("ray::MapWorker"):
            found.append(int(path.name))

    def ours(process: int) -> bool:
        return process == os.getpid() or (process in parents and ours(parents[process]))

    return [process for process in found if ours(process)]


@pytest.mark.skipif(not Path("/proc").exists(), reason="workers are found by /proc")
def test_workers_killed_midway_change_nothing(bundle: Path, tmp_path: Path) -> None:
    arguments = ["--num", 400_000, "--batch-size", 40_000, "--seed", 6]
    ok(bundle, *arguments, "--output", tmp_path / "whole")
    killed: list[int] = []
    done = threading.Event()

    def kill_two() -> None:
        while len(killed) < 2 and not done.wait(0.001):
            files = list((tmp_path / "rows").glob("0*.parquet"))
            busy = [process for process in _busy_workers() if process not in killed]
            if len(files) > 3 * len(killed) and busy:  # after each kill, wait for more files
                os.kill(busy[0], signal.SIGKILL)
                killed.append(busy[0])

    killer = threading.Thread(target=kill_two)
    killer.start()
    try:
        ok(bundle, *arguments, "--output", tmp_path / "rows")
    finally:
        done.set()
        killer.join()
    assert len(killed) == 2
    assert content(tmp_path / "rows") == content(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_job_that_was_stopped_goes_on_with_resume(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    rows_folder = tmp_path / "rows"
    arguments = ["--num", "3000000", "--batch-size", "50000", "--output", str(rows_folder)]
    command = [*PROGRAM, bundle, "--engine", "ray", *arguments]
    with child(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(rows_folder.glob("0*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    there = {path: path.stat().st_mtime_ns for path in rows_folder.glob("0*.parquet")}
    assert 0 < len(there) < 60
    if number == signal.SIGINT:
        assert process.returncode == 1
        assert errors.splitlines()[-1].endswith("the same command with --resume adds the others")
        assert "Traceback" not in errors
        assert not list(rows_folder.glob(".*"))
    ok(bundle, *arguments, "--resume")
    assert all(path.stat().st_mtime_ns == written for path, written in there.items())
    assert sum(pq.read_metadata(path).num_rows for path in rows_folder.glob("0*.parquet")) == 3_000_000
    assert not list(rows_folder.glob(".*"))


def test_threads_follow_the_cpus_that_ray_gives() -> None:
    given = [ray.get(ray.remote(num_cpus=cpus)(cpus_given).remote()) for cpus in (0.5, 1, 2)]
    assert given == [1, 1, 2]


def test_workers_ask_ray_for_as_many_cpus_as_they_have_threads(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    map_batches = ray.data.Dataset.map_batches

    def noted(self: Any, *arguments: Any, num_cpus: int, **options: Any) -> Any:
        asked.append(num_cpus)
        return map_batches(self, *arguments, num_cpus=num_cpus, **options)

    monkeypatch.setattr(ray.data.Dataset, "map_batches", noted)
    samples(bundle, 10, threads=2)
    ok(bundle, "--num", 10, "--threads", 2, "--output", tmp_path / "rows")
    assert asked == [2, 2]


def test_pieces_begin_at_multiples_of_their_size_and_may_include_the_largest_index() -> None:
    assert list(Ranges.of(5, 20, 8)) == [(5, 8), (8, 16), (16, 24), (24, 25)]
    assert list(Ranges.of(2**63 - 10, 10, 8)) == [(2**63 - 10, 2**63 - 8), (2**63 - 8, 2**63)]
    assert Ranges.of(5, 20, 8).images == 20


def test_the_largest_index_can_be_drawn(bundle: Path, tmp_path: Path) -> None:
    ok(bundle, "--num", 3, "--first", 2**63 - 3, "--output", tmp_path / "rows")
    index, _ = rows(tmp_path / "rows")
    assert index.tolist() == [2**63 - 3, 2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--output", "a.npy"], 2, "should be a folder"),
        (["--output", "-"], 2, "should be a folder"),
        (["--num", 3, "--shard", "0/4", "--output", "rows"], 1, "cannot be divided into 4 shards"),
        (["--num", 10**13, "--output", "rows"], 1, "free"),
        (["--output", "letters"], 1, "contains files that vae-sample --engine ray did not write"),
    ],
)
def test_invalid_arguments_give_one_sentence(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    result = run(bundle, *arguments)
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("options", [{"threads": 0}, {"batch_size": 0}, {"first": -1}, {"temperature": float("nan")}])
def test_invalid_arguments_of_a_dataset_raise_immediately(bundle: Path, options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        samples(bundle, 10, **options)  # type: ignore[arg-type]


def test_a_folder_invisible_to_a_worker_gives_one_sentence(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "claim", lambda job, path: None)  # as if the job's record were on another machine
    result = run(bundle, "--output", tmp_path / "rows")
    assert result.exit_code == 1
    assert "storage that all machines of the cluster share" in result.output


def test_workers_larger_than_any_machine_give_one_sentence(bundle: Path, tmp_path: Path) -> None:
    result = run(bundle, "--threads", 1000, "--output", tmp_path / "rows")
    assert result.exit_code == 1
    assert "no machine of the cluster has that many CPUs" in result.output


def test_without_ray_one_sentence_says_how_to_install_it(bundle: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['ray'] = None\nfrom runtime.cli import sample; sample()"
    done = subprocess.run(
        [sys.executable, "-c", program, bundle, "--engine", "ray", "--output", tmp_path / "rows"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Ray Data cannot be imported here")
    assert done.stderr.strip().endswith("pip install 'vae-toolchain[ray]'")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "rows").exists()


def test_a_cluster_that_answers_is_used() -> None:
    cluster._require_answer(ray.get_runtime_context().gcs_address)


def test_a_cluster_that_does_not_answer_gives_one_sentence_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SECONDS_TO_ANSWER", 2.0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    started = time.monotonic()
    with (
        pytest.raises(EngineError, match=r"no Ray answers at 127\.0\.0\.1:1, which"),
        cluster.connected(),
    ):
        pass
    assert time.monotonic() - started < 10
