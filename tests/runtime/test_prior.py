"""Prior, version 1: the same components and the same bits for ever, everywhere."""

import io
import json
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime.errors import BundleError, InputError
from runtime.noise import component_words, normal_and_component_words, standard_normal
from runtime.prior import ANY_CLASS, FULL, Prior, alias_table
from tests.fuzzing import contained
from tests.runtime.test_noise import philox_by_definition


def three_classes(components: int = 7, latent_dim: int = 5) -> Prior:
    random = np.random.default_rng(3)
    return Prior.of_mixture(
        random.uniform(0.1, 2, components),
        random.normal(size=(components, latent_dim)),
        random.uniform(0.2, 1.5, (components, latent_dim)),
        np.arange(components) % 3,
        ("cat", "dog", "9"),
    )


def arrays_of(prior: Prior) -> dict[str, npt.NDArray[Any]]:
    return {name: array.copy() for name, array in prior.arrays().items()}


def npz(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its own option is typed as any array's name
    return buffer.getvalue()


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
@pytest.mark.parametrize("label", [ANY_CLASS, 0, 2])
def test_component_and_latent_follow_the_written_contract(seed: int, label: int) -> None:
    prior = three_classes()
    indices = [0, 1, 5, 2**32 + 3, 2**53 + 1, 2**63 - 1]
    found = prior.component(seed, indices, label)
    z = prior.latents(seed, indices, label)
    for row, index in enumerate(indices):
        word = philox_by_definition([index % 2**32, index >> 32, 0, 2], [seed % 2**32, seed >> 32])[0]
        slot = word // 2**29  # 8 slots
        own = word % 2**16 < int(prior.thresholds[label + 1, slot])
        k = slot if own else int(prior.aliases[label + 1, slot])
        assert found[row] == k
        noise = standard_normal(seed, [index], 5)[0]
        for j in range(5):  # one float32 operation after the other
            exact = np.float32(np.float32(noise[j] + prior.shift[k, j]) * prior.scale[k, j])
            assert z[row, j].tobytes() == exact.tobytes()


def test_the_test_vector_of_the_contract() -> None:
    """Seed 7, index 5: components and first latents of a mixture of three that any host can write down by hand."""
    means, deviations = np.array([[-1, 0.5], [0, 0], [2, -3]]), np.array([[0.5, 1], [1, 2], [0.25, 0.75]])
    prior = Prior.of_mixture([1, 2, 5], means, deviations)
    assert hex(component_words(7, [5])[0]) == "0x321f38a1"
    assert prior.thresholds.tolist() == [[32768, 65536, 65536, 0]]
    assert prior.aliases.tolist() == [[2, 1, 2, 2]]
    assert prior.component(7, np.arange(12)).tolist() == [0, 0, 1, 2, 2, 0, 1, 2, 2, 0, 2, 2]
    assert [hex(bits) for bits in prior.latents(7, [5])[0].view(np.uint32)] == ["0xbfa5a651", "0x3f441ce5"]


def test_a_mixture_of_one_standard_normal_gives_the_bits_of_the_noise() -> None:
    prior = Prior.of_mixture([1.0], np.zeros((1, 9)), np.ones((1, 9)))
    indices = np.arange(2000)
    assert prior.latents(3, indices).tobytes() == standard_normal(3, indices, 9).tobytes()


def test_components_do_not_depend_on_batch_order_or_neighbours() -> None:
    prior = three_classes()
    indices, labels = np.arange(20_000), np.arange(20_000) % 4 - 1
    together = prior.component(3, indices, labels)
    shuffled = np.random.default_rng(0).permutation(20_000)
    assert (prior.component(3, shuffled, labels[shuffled]) == together[shuffled]).all()
    for label in range(-1, 3):
        assert (prior.component(3, indices, label)[labels == label] == together[labels == label]).all()


@pytest.mark.parametrize("count", [1, 2, 3, 37, 64, 65])
def test_tables_hold_the_weights_to_one_unit_and_lose_nothing(count: int) -> None:
    weights = np.random.default_rng(count).exponential(size=count) ** 3
    slots = max(2, 1 << (count - 1).bit_length())
    thresholds, aliases = alias_table(weights, slots)
    units = [Fraction(0)] * slots
    for slot in range(slots):
        units[slot] += int(thresholds[slot])
        units[int(aliases[slot])] += FULL - int(thresholds[slot])
    assert sum(units) == FULL * slots
    exact = weights / weights.sum() * FULL * slots
    assert all(abs(float(found) - wanted) <= 1 for found, wanted in zip(units, exact, strict=False))
    assert not any(units[count:])


def test_a_component_of_weight_zero_is_never_drawn() -> None:
    thresholds, aliases = alias_table(np.array([0.0, 1.0, 0.0, 3.0]), 4)
    assert thresholds[0] == thresholds[2] == 0
    assert set(aliases[thresholds < FULL].tolist()) <= {1, 3}


def test_probabilities_are_what_is_drawn() -> None:
    prior = three_classes()
    for label in (ANY_CLASS, 1):
        counts = np.bincount(prior.component(0, np.arange(200_000), label), minlength=prior.components)
        p = prior.probabilities(label)
        assert p.sum() == 1
        assert (np.abs(counts / 200_000 - p) <= 5 * np.sqrt(p * (1 - p) / 200_000)).all()


def test_a_labelled_sample_is_of_its_class() -> None:
    prior = three_classes()
    labels = np.arange(3000) % 3
    assert (prior.component_class[prior.component(1, np.arange(3000), labels)] == labels).all()


def test_samples_have_the_mean_of_their_class() -> None:
    prior = three_classes()
    z = prior.latents(0, np.arange(100_000), 2).astype(np.float64)
    assert z.mean(0) == pytest.approx(prior.class_mean(2), abs=0.03)


def test_temperature_scales_the_noise_around_the_mean() -> None:
    prior = three_classes()
    chosen = prior.component(0, [4, 5])
    assert prior.latents(0, [4, 5], temperature=0.0) == pytest.approx(prior.shift[chosen] * prior.scale[chosen])


def test_a_prior_is_the_same_after_a_round_through_its_file() -> None:
    prior = three_classes()
    again = Prior.from_npz(prior.to_npz(), "prior.npz", prior.classes)
    assert {name: array.tobytes() for name, array in again.arrays().items()} == {
        name: array.tobytes() for name, array in prior.arrays().items()
    }
    assert again.to_npz() == prior.to_npz()


def test_json_brings_back_the_same_bits() -> None:
    prior = three_classes()
    content = json.loads(prior.to_json())
    assert content["version"] == 1
    assert content["classes"] == ["cat", "dog", "9"]
    for name, array in prior.arrays().items():
        found = np.array(content[name]["data"], array.dtype).reshape(content[name]["shape"])
        assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("scale", lambda array: array * np.float32(0), "scale should be above 0 but reaches down to 0"),
        ("scale", lambda array: -array, "scale should be above 0"),
        ("scale", lambda array: array * np.float32(np.nan), "scale holds NaN or infinity"),
        ("shift", lambda array: array + np.float32(np.inf), "shift holds NaN or infinity"),
        ("shift", lambda array: array[:, :3], "should have one shape"),
        ("scale", lambda array: np.full_like(array, 3e38), "latents would not be finite"),
        ("component_class", lambda array: array + 1, "component_class should be from 0 to 2"),
        ("component_class", lambda array: array[:-1], "component_class should have the shape"),
        ("component_class", lambda array: array[::-1] // 2, "draw components of another class"),
        ("thresholds", lambda array: array + 70_000, "thresholds should be at most 65536"),
        ("thresholds", lambda array: array[:2], "a row for any class and one for each of 3 classes"),
        ("thresholds", lambda array: np.maximum(array, 1), "thresholds of slots from 7"),
        ("aliases", lambda array: array + 8, "aliases should be below 7"),
        ("aliases", lambda array: np.where(array == 6, 7, array).astype("<u4"), "aliases should be below 7"),
        ("aliases", lambda array: array.astype("<i8"), "aliases should be uint32 but is int64"),
    ],
)
def test_a_damaged_prior_is_refused_in_one_sentence(name: str, change: Any, words: str) -> None:
    arrays = arrays_of(three_classes())
    arrays[name] = change(arrays[name])
    with pytest.raises(BundleError, match=f"^prior.npz: .*{words}"):
        Prior.from_npz(npz(arrays), "prior.npz", ("cat", "dog", "9"))


def test_tables_of_a_number_of_slots_that_is_no_power_of_two_are_refused() -> None:
    arrays = arrays_of(three_classes())
    arrays["thresholds"] = np.pad(arrays["thresholds"], ((0, 0), (0, 1)))
    arrays["aliases"] = np.pad(arrays["aliases"], ((0, 0), (0, 1)))
    with pytest.raises(BundleError, match="slots of a power of two from 7 to 65536 but have 9"):
        Prior.from_npz(npz(arrays), "prior.npz", ("cat", "dog", "9"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", npz({"shift": np.zeros(3)})])
def test_a_file_that_is_no_prior_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"^prior\.npz: "):
        Prior.from_npz(content, "prior.npz", ())


def test_pickled_objects_are_never_loaded() -> None:
    arrays = arrays_of(three_classes())
    arrays["shift"] = np.array([[{}]], object)
    with pytest.raises(BundleError, match="cannot be read"):
        Prior.from_npz(npz(arrays), "prior.npz", ("cat", "dog", "9"))


def test_a_file_that_unpacks_to_more_than_it_holds_is_refused_before_that() -> None:
    """`vae-export` stores the arrays as they are."""
    arrays = arrays_of(three_classes())
    buffer = io.BytesIO()
    changed: dict[str, Any] = {**arrays, "shift": np.zeros((7, 10**6), np.float32)}
    np.savez_compressed(buffer, **changed)
    with contained(), pytest.raises(BundleError, match=r"would unpack from [\d,]+ to 28,\d{3},\d{3} bytes"):
        Prior.from_npz(buffer.getvalue(), "prior.npz", ("cat", "dog", "9"))


@pytest.mark.parametrize(("label", "number"), [("dog", 1), ("9", 2), ("0", 0), (2, 2), (np.int64(1), 1)])
def test_a_class_is_found_by_its_name_and_then_by_its_number(label: int | str, number: int) -> None:
    assert three_classes().class_number(label) == number


@pytest.mark.parametrize("label", ["cow", "3", 3, -1, True, "", "²"])
def test_an_unknown_class_is_refused_with_the_known_ones(label: int | str) -> None:
    with pytest.raises(InputError, match=r"there is no class .*; the classes are cat, dog, 9$"):
        three_classes().class_number(label)


def test_a_label_where_there_are_no_classes_is_refused() -> None:
    prior = Prior.of_mixture([1], [[0.0]], [[1.0]])
    with pytest.raises(InputError, match="has no classes"):
        prior.class_number("7")


@pytest.mark.parametrize("weights", [[0, 0], [-1, 2], [np.nan, 1], [np.inf, 1]])
def test_weights_that_are_no_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights should be finite, none negative and not all 0"):
        Prior.of_mixture(weights, np.zeros((2, 1)), np.ones((2, 1)))


def test_a_class_without_components_is_refused() -> None:
    with pytest.raises(ValueError, match="weights should be finite"):
        Prior.of_mixture([1, 1], np.zeros((2, 1)), np.ones((2, 1)), [0, 0], ("a", "b"))


@pytest.mark.parametrize("latent_dim", [1, 20, 32, 50])
@pytest.mark.parametrize("num", [0, 1, 3, 20_000])  # the last in several pieces
def test_noise_and_component_words_are_the_same_drawn_at_once(latent_dim: int, num: int) -> None:
    indices = np.random.default_rng(0).integers(0, 2**63 - 1, num)
    noise, words = normal_and_component_words(9, indices, latent_dim)
    assert noise.tobytes() == standard_normal(9, indices, latent_dim).tobytes()
    assert words.tobytes() == component_words(9, indices).tobytes()
