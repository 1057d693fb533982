import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped]

from everloop.measure.divergence import js, ks, psi, psi_bias, psi_excess

counts = st.lists(st.integers(0, 1000), min_size=3, max_size=12)
pairs = st.integers(2, 12).flatmap(
    lambda num: st.tuples(
        *[st.lists(st.integers(0, 1000), min_size=num, max_size=num).filter(any)] * 2
    )
)


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_divergences_are_symmetric_and_zero_for_equal_shares(
    pair: tuple[list[int], list[int]],
) -> None:
    a, b = pair
    for divergence in (psi, js, ks, psi_excess):
        assert divergence(a, b) == pytest.approx(divergence(b, a), abs=1e-12)
        assert divergence(a, b) >= 0
        assert divergence(a, [3 * x for x in a]) == pytest.approx(0, abs=1e-12)
    assert js(a, b) <= 1
    assert ks(a, b) <= 1
    assert psi_excess(a, b) <= max(psi(a, b, floor=0.5 / min(sum(a), sum(b))), 0)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_js_agrees_with_scipy(pair: tuple[list[int], list[int]]) -> None:
    assert js(*pair) == pytest.approx(jensenshannon(*pair, base=2) ** 2, abs=1e-9)


def test_ks_on_bins_comes_close_to_the_exact_distance() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=5000), rng.normal(0.2, 1, 5000)
    edges = [-np.inf, *np.quantile(a, np.linspace(0, 1, 33)[1:-1]), np.inf]
    found = ks(np.histogram(a, edges)[0].tolist(), np.histogram(b, edges)[0].tolist())
    exact = stats.ks_2samp(a, b).statistic
    assert exact - 0.02 < found <= exact + 1e-12


@pytest.mark.parametrize(("num_bins", "num_rows"), [(12, 200), (100, 200), (100, 5000)])
def test_the_excess_is_near_zero_on_average_where_nothing_changed(
    num_bins: int, num_rows: int
) -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(num_bins))
    found = [
        (psi(*pair), psi_excess(*pair))
        for pair in (
            (rng.multinomial(20_000, shares).tolist(), rng.multinomial(num_rows, shares).tolist())
            for _ in range(200)
        )
    ]
    raw, excess = np.mean(found, axis=0)
    assert excess < 0.15 * (num_bins - 1) / num_rows + 0.002
    assert excess < raw / 4


def test_the_bias_counts_only_bins_that_hold_rows() -> None:
    assert psi_bias([10, 0, 10], [20, 0, 20]) == pytest.approx(1 / 20 + 1 / 40)


def test_a_real_shift_is_left_almost_whole() -> None:
    assert psi_excess([500, 500], [900, 100]) > 0.99 * psi([500, 500], [900, 100])


@pytest.mark.parametrize("divergence", [psi, psi_excess, psi_bias, js, ks])
def test_windows_without_rows_or_with_other_bins_are_refused(divergence: object) -> None:
    assert callable(divergence)
    with pytest.raises(ValueError, match="no rows"):
        divergence([0, 0], [1, 1])
    with pytest.raises(ValueError, match="2 and 3 bins"):
        divergence([1, 1], [1, 1, 1])
